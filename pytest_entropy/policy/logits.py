"""What the model says of each response token, ``[P, G, L, V]``, without ever holding a table that is too large.

A vocabulary of 150 000 times long responses is tens of GB in float32, several times over once probabilities and
gradients are counted.  So above :data:`TABLE_ENTRIES` the logits are made of the last hidden states for a few
positions at a time, used, and made again in backward (Chen et al. 2016, arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.utils.checkpoint import checkpoint

from pytest_entropy.policy.row_map import SamePass, row_groups

# Entries of [tokens, vocabulary] made at once: 128 MiB in float32.
TABLE_ENTRIES = 2**25


@dataclass(frozen=True)
class TeacherForced:
    """What the scoring pass says of rollouts, all ``[P, G, L]``, zero where nothing counts.

    ``log_probs`` and ``entropies`` in nats, differentiable when gradients are on.  ``ranks`` (uniform under
    the null, see :func:`surprisal_rank`) and ``surprisal_sd`` (nats) only if asked for.  ``expected_values`` Q_k
    (nats, differentiable) if the rollouts come with action values: the expected value of the token to come.
    ``likeliest`` max_u log pi(u) (no gradient), where the policy's own scoring pass made the record.
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
    """Logits that predict the response tokens, whole or in pieces."""

    def statistics(self, function: Statistics, *tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """``function`` of logits and tables, for all positions; differentiable where gradients are on."""
        ...

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        """(first position, logits ``[P, G, l, V]``) in order."""
        ...


@dataclass(frozen=True)
class Whole:
    """The whole table, where it is small."""

    logits: torch.Tensor

    def statistics(self, function: Statistics, *tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return function(self.logits, *tables)

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        yield 0, self.logits


@dataclass(frozen=True)
class Piecewise:
    """``hidden`` ``[P * G, L, H]`` and the ``head`` that makes logits of them, ``positions`` at a time."""

    hidden: torch.Tensor
    head: torch.nn.Module
    group: int
    positions: int

    def statistics(self, function: Statistics, *tables: torch.Tensor) -> tuple[torch.Tensor, ...]:
        def piece(hidden: torch.Tensor, *own: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return function(self._logits(hidden), *own)

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
                    # Backward may run on a thread of its own, which knows nothing of the pass under way here.
                    context_fn=lambda again=again: (nullcontext(), again),  # type: ignore[misc]
                )
            )
        return tuple(torch.cat(columns, dim=2) for columns in zip(*results, strict=True))

    def pieces(self) -> Iterator[tuple[int, torch.Tensor]]:
        for first in range(0, self.hidden.shape[1], self.positions):
            yield first, self._logits(self.hidden[:, first : first + self.positions])

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        with row_groups(self.group):
            # A slice of positions is not contiguous, and a product with one is made row by row, each with the whole
            # vocabulary's weights again.
            logits: torch.Tensor = self.head(hidden.contiguous())
        return logits.reshape(-1, self.group, *logits.shape[1:])
