"""Choose what a control variate does with its tables: nothing, subtract action values, or clean with them as well.

Every later token's action value that is taken off brings noise of its own.  In short answers that is far less than what
it takes away; where hundreds of tokens decide, it can be more.  So the tables of one half of U's prompts are tried on
the other half: the error is that of the score's weight, sum (1 - pi(t_k))^2 (C_k - m_k - q_k(t_k))^2, whose weights are
what squared scores are proportional to where two tokens compete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import FOLDS, ControlVariate, learn
from pytest_entropy.probe.estimators.action_value import centred
from pytest_entropy.probe.pieces import scoring_chunks, work_through

NOTHING, SUBTRACT, CLEAN = range(3)


@dataclass(frozen=True)
class ErrorsPiece:
    """A request for the errors of the three uses on p prompts that carry tables of other prompts."""

    part: Rollouts

    def compute(self, policy: Policy) -> np.ndarray:
        """Weighted squared errors by use, ``[3]``, nats squared."""
        part = self.part
        with torch.no_grad():
            forced = policy.teacher_force(part)
        assert forced.expected_values is not None
        known = ControlVariate.of(part, forced.expected_values)
        nothing = torch.zeros_like(known.own)
        uses = [
            replace(known, own=nothing, expected=nothing),
            replace(known, cleans=torch.zeros_like(known.cleans)),
            replace(known, cleans=torch.ones_like(known.cleans)),
        ]
        alive = part.mask.to(nothing)
        weights = torch.expm1(part.log_probs.to(nothing)).square() * alive
        rests = [centred(forced.entropies.double(), alive, use) for use in uses]
        return np.array([float((weights * rest.square()).sum()) for rest in rests])


def chosen_tables(policy: Policy, batch: Rollouts, positions: int, *, chunk_tokens: int) -> ControlVariateTables:
    """The tables learnt from a batch, for the use of them that has the least error on prompts left out.

    Args:
        policy: scores the batch once.
        batch: U's responses.
        positions: largest number of tokens of a response in the other batch.
        chunk_tokens: token budget of a piece.
    """
    tables = learn(batch, positions)
    if len(batch) < FOLDS:
        return used(tables, SUBTRACT)
    errors = np.zeros(3)
    for half in (0, 1):
        taught = learn(batch.select(list(range(1 - half, len(batch), 2))), positions)
        held = replace(batch.select(list(range(half, len(batch), 2))), control_variate=taught)
        errors += sum(_errors(policy, held, chunk_tokens))
    return used(tables, int(np.argmin(errors)))


def _errors(policy: Policy, held: Rollouts, chunk_tokens: int) -> Sequence[np.ndarray]:
    chunks = scoring_chunks(held, chunk_tokens, pads=policy.pads)
    return [errors for _, errors in work_through(policy, chunks, lambda some: ErrorsPiece(held.select(some)))]


def used(tables: ControlVariateTables, use: int) -> ControlVariateTables:
    """The tables for one use; for ``NOTHING`` the means by position are left.

    Args:
        tables: as they were learnt.
        use: ``NOTHING``, ``SUBTRACT`` or ``CLEAN``.
    """
    if use == CLEAN:
        return tables
    without = replace(tables, cleans=torch.zeros_like(tables.cleans))
    if use == SUBTRACT:
        return without
    return replace(
        without,
        token=tables.token[:0],
        pair_context=tables.pair_context[:0],
        pair_token=tables.pair_token[:0],
        pair_value=tables.pair_value[:0],
    )
