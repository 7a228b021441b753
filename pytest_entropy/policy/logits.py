"""The logits of every response token, ``[P, G, L, V]``, whole or computed for a few positions at a time.

With a vocabulary of 150 000 and long responses they take tens of GB in float32, and several times that with
probabilities and gradients.  So above :data:`TABLE_ENTRIES` entries the logits are computed from the last hidden states
for a few tokens at a time and used.  Where the output layer is plain, its gradients are made at once
(:class:`.HeadStatistics`); else the logits are recomputed in backward (Chen et al. 2016, arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.modules import module as registered
from torch.utils.checkpoint import checkpoint

from pytest_entropy.policy.head_statistics import HeadStatistics
from pytest_entropy.policy.row_map import SamePass, row_groups
from pytest_entropy.policy.token_statistics import Asked, TokenNumbers, token_statistics

# Entries of [tokens, vocabulary] computed at once: 128 MiB in float32.
TABLE_ENTRIES = 2**25
# Positions whose hidden states are held in float64 at once, but for a single row's.
POSITIONS = 2**12


@dataclass(frozen=True)
class TeacherForced:
    """The scores of rollouts under teacher forcing, all ``[P, G, L]``, zero after the end of each response.

    Attributes:
        log_probs: log pi(t_k) in nats, differentiable if gradients are enabled.
        entropies: exact next-token entropies H_k in nats, differentiable if gradients are enabled.
        ranks: randomised surprisal ranks of :class:`.TokenNumbers`, uniform if the tokens follow the distribution; None
            unless requested.
        surprisal_sd: the surprisal's standard deviation in nats; None unless requested.
        expected_values: Q_k in nats, the expected action value of the next token, differentiable; None without a
            control variate.
        likeliest: max_u log pi(u) in nats, without gradient; None unless the policy's own scoring pass made the record.
        tied: the probability of the tokens as likely as t_k, of :class:`.TokenNumbers`; None without ranks.
        prefix_values: the control variate's value of each token's prefix in nats, without gradient; None without one.
    """

    log_probs: torch.Tensor
    entropies: torch.Tensor
    ranks: torch.Tensor | None = None
    surprisal_sd: torch.Tensor | None = None
    expected_values: torch.Tensor | None = None
    likeliest: torch.Tensor | None = None
    tied: torch.Tensor | None = None
    prefix_values: torch.Tensor | None = None


class Predictions(Protocol):
    """The logits that predict the response tokens, whole or in pieces."""

    def statistics(
        self, asked: Asked, tokens: torch.Tensor, mask: torch.Tensor, uniform: torch.Tensor | None
    ) -> TokenNumbers:
        """The numbers of the response tokens, ``[P, G, L]`` each, differentiable if gradients are enabled.

        Args:
            asked: temperature and action values.
            tokens: ``[P, G, L]`` int64.
            mask: ``[P, G, L]`` bool on the lengths' device, the tokens that count; others' numbers mean nothing.
            uniform: ``[P, G, L]`` random numbers in [0, 1) for the ranks; None for no ranks.
        """
        ...

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Pairs (first position, logits ``[P, G, l, V]``) in the order of positions."""
        ...

    def hidden_states(self) -> torch.Tensor | None:
        """The last hidden states that the tokens are drawn from, ``[P, G, L, H]``; None where they are not at hand."""
        ...


@dataclass(frozen=True)
class WholeLogits:
    """Predictions whose logits ``[P, G, L, V]`` are held as a whole; hidden states ``[P * G, L, H]`` if asked for."""

    logits: torch.Tensor
    hidden: torch.Tensor | None = None

    def statistics(
        self, asked: Asked, tokens: torch.Tensor, mask: torch.Tensor, uniform: torch.Tensor | None
    ) -> TokenNumbers:
        """See :meth:`Predictions.statistics`.

        Args:
            asked, tokens, mask, uniform: as there.
        """
        return token_statistics(self.logits, tokens, asked, uniform)

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        """See :meth:`Predictions.pieces`."""
        yield 0, self.logits

    def hidden_states(self) -> torch.Tensor | None:
        """See :meth:`Predictions.hidden_states`."""
        return None if self.hidden is None else self.hidden.reshape(*self.logits.shape[:-1], -1)


@dataclass(frozen=True)
class PiecewiseLogits:
    """Predictions whose logits are computed from hidden states, for a few positions at a time.

    Attributes:
        hidden: ``[P * G, L, H]``, the last hidden states.
        head: the model's output layer.
        group: G, the number of responses per prompt.
        positions: how many positions are computed at a time.
    """

    hidden: torch.Tensor
    head: torch.nn.Module
    group: int
    positions: int

    def statistics(
        self, asked: Asked, tokens: torch.Tensor, mask: torch.Tensor, uniform: torch.Tensor | None
    ) -> TokenNumbers:
        """See :meth:`Predictions.statistics`; logits are computed once where the head is plain, else twice.

        Args:
            asked, tokens, mask, uniform: as there.
        """
        if is_plain(self.head):
            return self._at_once(asked, tokens, mask, uniform)
        results = []
        for first in range(0, self.hidden.shape[1], self.positions):
            span = slice(first, first + self.positions)
            sliced = None if uniform is None else uniform[:, :, span]
            piece = _Recomputed(self, asked.select((slice(None), slice(None), span)), tokens[:, :, span], sliced)
            hidden = self.hidden[:, span]
            if not torch.is_grad_enabled():
                results.append(piece(hidden))
                continue
            again = SamePass()
            results.append(
                checkpoint(
                    piece,
                    hidden,
                    use_reentrant=False,
                    preserve_rng_state=False,
                    # Backward may run on another thread, which lacks this thread's row groups.
                    context_fn=lambda again=again: (nullcontext(), again),  # type: ignore[misc]
                )
            )
        columns = (column if column[0] is not None else None for column in zip(*results, strict=True))
        return TokenNumbers(*(column and torch.cat(column, dim=2) for column in columns))  # type: ignore[arg-type]

    def _at_once(
        self, asked: Asked, tokens: torch.Tensor, mask: torch.Tensor, uniform: torch.Tensor | None
    ) -> TokenNumbers:
        """The numbers of the tokens that count, 0 of the others, with gradients made while the logits are at hand."""
        # The mask is where the lengths are, so that a GPU need not be waited for.
        index = mask.reshape(-1).nonzero().squeeze(-1).to(tokens.device)
        own = None if uniform is None else uniform.reshape(-1)[index]
        hidden, drawn = self.hidden.reshape(-1, self.hidden.shape[-1])[index], tokens.reshape(-1)[index]
        block = self.positions * len(self.hidden)
        found = HeadStatistics.apply(hidden, self.head, drawn, asked.flat().select(index), own, block)  # type: ignore[no-untyped-call]
        zeros = (None if x is None else x.new_zeros(tokens.numel()).index_copy(0, index, x) for x in found)
        return TokenNumbers(*(None if x is None else x.reshape(tokens.shape) for x in zeros))  # type: ignore[arg-type]

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        """See :meth:`Predictions.pieces`."""
        for first in range(0, self.hidden.shape[1], self.positions):
            yield first, self.logits_of(self.hidden[:, first : first + self.positions])

    def hidden_states(self) -> torch.Tensor | None:
        """See :meth:`Predictions.hidden_states`."""
        return self.hidden.reshape(-1, self.group, *self.hidden.shape[1:])

    def logits_of(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logits ``[P, G, l, V]`` of hidden states ``[P * G, l, H]``."""
        with row_groups(self.group):
            # A slice of positions is not contiguous, and torch multiplies such a slice row by row, reading the whole
            # output layer's weights for each row.
            logits: torch.Tensor = self.head(hidden.contiguous()).to(hidden.device)
        return logits.reshape(-1, self.group, *logits.shape[1:])


def values_of_prefixes(hidden: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The value of each token's prefix, ``[P, G, L]`` float64 nats, without gradient, a few rows at a time.

    Args:
        hidden: the last hidden states ``[P, G, L, H]`` that the tokens are drawn from.
        value: ``[4, H]`` nats, of :class:`.ControlVariateTables`.
    """
    by_feature, length = value.to(hidden.device).T, hidden.shape[2]
    parts = hidden.detach().flatten(0, 1).split(max(1, POSITIONS // length))
    products = torch.cat([some.double() @ by_feature for some in parts])
    so_far = torch.arange(1, length + 1, device=hidden.device)
    own, of_prompt, of_mean, of_sum = products.reshape(*hidden.shape[:3], -1).unbind(-1)
    return own + of_prompt[..., :1] + of_mean.cumsum(-1) / so_far + of_sum.cumsum(-1)


class _Recomputed:
    """The numbers of a piece's tokens from its hidden states; without ranks when backward asks for them again."""

    def __init__(
        self, source: PiecewiseLogits, asked: Asked, tokens: torch.Tensor, uniform: torch.Tensor | None
    ) -> None:
        self._source, self._asked, self._tokens, self._uniform = source, asked, tokens, uniform

    def __call__(self, hidden: torch.Tensor) -> TokenNumbers:
        uniform, self._uniform = self._uniform, None
        return token_statistics(self._source.logits_of(hidden), self._tokens, self._asked, uniform)


def is_plain(head: torch.nn.Module) -> bool:
    """Whether an output layer is a frozen linear map and nothing else: no hook, parametrization or adapter on it.

    Args:
        head: the output layer.
    """
    hooks: Any = (
        head._forward_hooks, head._forward_pre_hooks, head._backward_hooks, head._backward_pre_hooks,
        registered._global_forward_hooks, registered._global_forward_pre_hooks, registered._global_backward_hooks,
        registered._global_backward_pre_hooks,
    )  # fmt: skip
    if type(head) is not torch.nn.Linear or "forward" in vars(head) or any(hooks):
        return False
    return not any(p.requires_grad for p in head.parameters())
