"""The logits of every response token, ``[P, G, L, V]``, whole or computed for a few positions at a time.

With a vocabulary of 150 000 and long responses they take tens of GB in float32, and several times that with
probabilities and gradients.  So above :data:`TABLE_ENTRIES` entries the logits are computed from the last hidden states
for a few positions at a time, used, and recomputed in backward (Chen et al. 2016, arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.utils.checkpoint import checkpoint

from pytest_entropy.policy.row_map import SamePass, row_groups

# Entries of [tokens, vocabulary] computed at once: 128 MiB in float32.
TABLE_ENTRIES = 2**25


@dataclass(frozen=True)
class TeacherForced:
    """The scores of rollouts under teacher forcing, all ``[P, G, L]``, zero after the end of each response.

    Attributes:
        log_probs: log pi(t_k) in nats, differentiable if gradients are enabled.
        entropies: exact next-token entropies H_k in nats, differentiable if gradients are enabled.
        ranks: randomised surprisal ranks of :func:`surprisal_rank`, uniform if the tokens follow the distribution; None
            unless requested.
        surprisal_sd: the surprisal's standard deviation in nats; None unless requested.
        expected_values: Q_k in nats, the expected action value of the next token, differentiable; None without a
            control variate.
        likeliest: max_u log pi(u) in nats, without gradient; None unless the policy's own scoring pass made the record.
    """

    log_probs: torch.Tensor
    entropies: torch.Tensor
    ranks: torch.Tensor | None = None
    surprisal_sd: torch.Tensor | None = None
    expected_values: torch.Tensor | None = None
    likeliest: torch.Tensor | None = None


# (logits [P, G, l, V], tables [P, G, l]) -> results [P, G, l].
Statistics = Callable[..., tuple[torch.Tensor, ...]]


class Predictions(Protocol):
    """The logits that predict the response tokens, whole or in pieces."""

    def statistics(self, function: Statistics, *tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Apply ``function`` to the logits and the tables of all positions.

        Args:
            function: maps logits ``[P, G, l, V]`` and tables ``[P, G, l]`` to results ``[P, G, l]``.
            tables: ``[P, G, L]``, such as the tokens.

        Returns:
            The results, ``[P, G, L]`` each, differentiable if gradients are enabled.
        """
        ...

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Pairs (first position, logits ``[P, G, l, V]``) in the order of positions."""
        ...


@dataclass(frozen=True)
class WholeLogits:
    """Predictions whose logits ``[P, G, L, V]`` are held as a whole."""

    logits: torch.Tensor

    def statistics(self, function: Statistics, *tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See :meth:`Predictions.statistics`."""
        return function(self.logits, *tables)

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        """See :meth:`Predictions.pieces`."""
        yield 0, self.logits


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

    def statistics(self, function: Statistics, *tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See :meth:`Predictions.statistics`; the logits are recomputed in backward."""

        def piece(hidden: torch.Tensor, *sliced: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return function(self._logits(hidden), *sliced)

        results = []
        for first in range(0, self.hidden.shape[1], self.positions):
            span = slice(first, first + self.positions)
            inputs = self.hidden[:, span], *(table[:, :, span] for table in tables)
            if not torch.is_grad_enabled():
                results.append(piece(*inputs))
                continue
            again = SamePass()
            results.append(
                checkpoint(
                    piece,
                    *inputs,
                    use_reentrant=False,
                    preserve_rng_state=False,
                    # Backward may run on another thread, which lacks this thread's row groups.
                    context_fn=lambda again=again: (nullcontext(), again),  # type: ignore[misc]
                )
            )
        return tuple(torch.cat(columns, dim=2) for columns in zip(*results, strict=True))

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        """See :meth:`Predictions.pieces`."""
        for first in range(0, self.hidden.shape[1], self.positions):
            yield first, self._logits(self.hidden[:, first : first + self.positions])

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        with row_groups(self.group):
            # A slice of positions is not contiguous, and torch multiplies such a slice row by row, reading the whole
            # output layer's weights for each row.
            logits: torch.Tensor = self.head(hidden.contiguous()).to(hidden.device)
        return logits.reshape(-1, self.group, *logits.shape[1:])
