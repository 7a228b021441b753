"""Choose what a control variate does with its tables, and fit what is left to the prefixes' hidden states and groups.

Tables are left alone, subtracted, or the entropy-to-go is cleaned with them as well.  Every later token's action value
that is taken off brings noise of its own: in short answers far less than what it takes away; where hundreds of tokens
decide, it can be more.  So the tables of one half of U's prompts are tried on the other half.  For each use a value of
the prefix is fitted to what is left (:mod:`.prefix_value`), and the use with the least error on prompts left out is
taken, weighted by squared scores.  Last comes the share that what is left of a response has in common with the group's
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.teacher_forcing import padded_tokens, predictions, scores
from pytest_entropy.probe.control_variate import FOLDS, ControlVariate, learn
from pytest_entropy.probe.estimators.action_value import centred
from pytest_entropy.probe.estimators.base import positional_baseline
from pytest_entropy.probe.pieces import scoring_chunks, worked
from pytest_entropy.probe.prefix_value import FittedValue, RegressionSums, features, fitted, projection_of
from pytest_entropy.probe.squared_scores import squared_scores

NOTHING, SUBTRACT, CLEAN = range(3)
# The share is fitted before the value of the prefix, since U is too small to fit it to what that leaves.  Where
# there is such a value, it is taken half-way towards this: better on long answers (docs/variance-reduction.md).
HALF = 0.5


@dataclass(frozen=True)
class UseSums:
    """What is summed over prompts for each use.

    Attributes:
        fits: what each use leaves on the features of the prefixes, by fold, with the tokens' weights 1 - pi(t_k).
        errors: the same with squared scores as weights.
        shares: ``[3, 2]``, sums of r o and o^2 for each use with squared scores as weights; r is what is left, o its
            mean over the group's others.
    """

    fits: dict[int, RegressionSums]
    errors: dict[int, RegressionSums]
    shares: np.ndarray

    def plus(self, other: UseSums) -> UseSums:
        """The sums over the prompts of both."""
        return UseSums(_merged(self.fits, other.fits), _merged(self.errors, other.errors), self.shares + other.shares)


def _merged(one: dict[int, RegressionSums], other: dict[int, RegressionSums]) -> dict[int, RegressionSums]:
    return one | {fold: one[fold].plus(own) if fold in one else own for fold, own in other.items()}


@dataclass(frozen=True)
class UsesPiece:
    """A request for the sums over p prompts that carry tables of other prompts.

    Attributes:
        part: the prompts' rollouts.
        squared_scores: ``[p, G, L]``, of :func:`.squared_scores`.
        folds: the number of each prompt's fold.
        projection: ``[H, F]``, what hidden states are projected on; None for nothing.
    """

    part: Rollouts
    squared_scores: torch.Tensor
    folds: tuple[int, ...]
    projection: torch.Tensor | None

    def compute(self, policy: Policy) -> UseSums:
        """Score the responses, and sum; a model that gives no hidden states has no features."""
        part = self.part
        with torch.no_grad():
            tokens = padded_tokens(policy, part)
            made = predictions(policy, part, tokens, with_hidden=True)
            forced = scores(policy, part, tokens, made)
        assert forced.expected_values is not None
        mask = part.mask.to(policy.device)
        alive, nats = mask.double(), forced.entropies.double()
        rests = [centred(nats, alive, use) for use in _uses(ControlVariate.of(part, forced.expected_values))]
        squared, shares = self.squared_scores.to(alive), []
        for rest in rests:
            others = positional_baseline(rest, mask)
            shares.append([float((squared * one * others).sum()) for one in (rest, others)])
        found = UseSums({}, {}, np.array(shares))
        left, states = torch.stack(rests, -1), made.hidden_states()
        weights = -torch.expm1(part.log_probs.to(alive))
        for n, fold in enumerate(self.folds):
            kept = mask[n]
            x = self._features(None if states is None else states[n], left[n])[kept]
            sums = [RegressionSums.of(x, left[n][kept], own[n][kept]) for own in (weights, squared)]
            found = found.plus(UseSums({fold: sums[0]}, {fold: sums[1]}, np.zeros((3, 2))))
        return found

    def _features(self, states: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        """Features ``[G, L, 4 F]`` of the prefixes of one prompt's tokens; none without hidden states."""
        if states is None:
            return like[..., :0]
        own = states.double()
        return features(own if self.projection is None else own @ self.projection.to(own.device))


def _uses(known: ControlVariate) -> list[ControlVariate]:
    nothing = torch.zeros_like(known.own)
    return [
        replace(known, own=nothing, expected=nothing),
        replace(known, cleans=torch.zeros_like(known.cleans)),
        replace(known, cleans=torch.ones_like(known.cleans)),
    ]


def chosen_tables(
    policy: Policy, batch: Rollouts, direction: Mapping[str, torch.Tensor], positions: int, *, chunk_tokens: int
) -> ControlVariateTables:
    """The tables learnt from a batch, for the use of them that has the least error on prompts left out.

    Args:
        policy: scores the batch a few times.
        batch: U's responses.
        direction: u by live parameter name.
        positions: largest number of tokens of a response in the other batch.
        chunk_tokens: token budget of a piece.
    """
    tables = learn(batch, positions)
    if len(batch) < FOLDS:
        return used(tables, SUBTRACT)
    squared = squared_scores(policy, batch, direction, chunk_tokens=chunk_tokens)
    projection = projection_of(_width(policy))
    total = _summed(policy, batch, squared, projection, positions, chunk_tokens)
    folds = sorted(total.fits)
    values = fitted([total.fits[fold] for fold in folds], [total.errors[fold] for fold in folds])
    use = int(np.argmin([value.error for value in values]))
    share = best_share(*total.shares[use])
    if values[use].slopes.any():
        share = (share + HALF) / 2
    known = replace(used(tables, use), share=torch.tensor(share, dtype=torch.float64))
    return with_value(known, values[use], projection)


def _width(policy: Policy) -> int:
    """The width of the hidden states that the output layer takes; 0 where they are not at hand."""
    head: Any = policy.model.get_output_embeddings() if policy.plain_head else None
    if head is None:
        return 0
    # A quantised layer's weight is packed.
    own = getattr(head, "in_features", None)
    return int(head.weight.shape[-1] if own is None else own)


def _summed(
    policy: Policy,
    batch: Rollouts,
    squared: torch.Tensor,
    projection: torch.Tensor | None,
    positions: int,
    chunk_tokens: int,
) -> UseSums:
    """The sums over all prompts, each with the tables of the other half."""
    total = UseSums({}, {}, np.zeros((3, 2)))
    for half in (0, 1):
        own = list(range(half, len(batch), 2))
        taught = learn(batch.select(list(range(1 - half, len(batch), 2))), positions)
        held, weights = replace(batch.select(own), control_variate=taught), squared[own]

        def piece(
            indices: list[int], held: Rollouts = held, own: list[int] = own, weights: torch.Tensor = weights
        ) -> UsesPiece:
            part, folds = held.select(indices), tuple(own[n] % FOLDS for n in indices)
            return UsesPiece(part, weights[indices, :, : part.tokens.shape[2]], folds, projection)

        for _, sums in worked(policy, scoring_chunks(held, chunk_tokens, pads=policy.pads), piece):
            total = total.plus(sums)
    return total


def with_value(tables: ControlVariateTables, fit: FittedValue, projection: torch.Tensor | None) -> ControlVariateTables:
    """The tables with the value of a prefix; unchanged where nothing predicts it.

    Args:
        tables: without one.
        fit: the regression on the features of prefixes.
        projection: ``[H, F]``, what hidden states were projected on; None for nothing.
    """
    if not fit.slopes.any():
        return tables
    value = torch.from_numpy(fit.slopes).reshape(4, -1)
    if projection is not None:
        value = value @ projection.T
    return replace(tables, position=tables.position + fit.intercept, value=value)


def share_in_groups(share: float, of: int, now: int) -> float:
    """The best share in groups of another size: with G - 1 others the best one is A / (A + S / (G - 1)) for some A, S.

    >>> share_in_groups(0.5, 8, 8), share_in_groups(0.5, 8, 2), share_in_groups(1.0, 8, 2), share_in_groups(0.5, 8, 1)
    (0.5, 0.125, 1.0, 0.0)

    Args:
        share: the best one in groups of ``of`` responses.
        of, now: responses of a group, then and now.
    """
    if share >= 1 or of == now:
        return share
    odds = share / (1 - share) * (now - 1) / max(of - 1, 1)
    return odds / (1 + odds)


def best_share(product: float, square: float) -> float:
    """The share in [0, 1] of o with the least squared error of r - share o.

    >>> best_share(1.0, 4.0), best_share(-1.0, 4.0), best_share(5.0, 4.0), best_share(0.0, 0.0)
    (0.25, 0.0, 1.0, 0.0)

    Args:
        product: the sum of r o.
        square: the sum of o^2.
    """
    return min(1.0, max(0.0, product / square)) if square > 0 else 0.0


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
