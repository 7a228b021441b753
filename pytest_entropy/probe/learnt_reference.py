"""The estimator that learns from other prompts, by its definition in plain loops (docs/variance-reduction.md).

Shares nothing with :mod:`.action_values` but its two constants; the other side of the ``definition`` check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_entropy.probe.action_values import FOLDS, PRIOR
from pytest_entropy.rollouts import Rollouts

Table = list[list[float]]


class Lesson(NamedTuple):
    """What the prompts of other folds say: m by position, q by token, and the share of a group's mean."""

    position: dict[int, float]
    token: dict[int, float]
    share: float


def lesson_for(rollouts: Rollouts, slot: int) -> Lesson:
    """Learnt for prompt ``slot`` from the responses of all prompts of other folds, by the sampler's entropies."""
    folds = min(FOLDS, len(rollouts))
    # Per response of another fold: its tokens and what was still to come after each.
    groups = []
    for n in range(len(rollouts)):
        if n % folds == slot % folds:
            continue
        nats = [row[: len(ids)] for row, ids in zip(rollouts.entropies[n].tolist(), rollouts.responses(n), strict=True)]
        groups.append(list(zip(rollouts.responses(n), entropy_to_go(nats), strict=True)))
    by_position: dict[int, list[float]] = {}
    for group in groups:
        for _, to_go in group:
            for k, gamma in enumerate(to_go):
                by_position.setdefault(k, []).append(gamma)
    position = {k: sum(values) / len(values) for k, values in by_position.items()}
    by_token: dict[int, list[float]] = {}
    for group in groups:
        for ids, to_go in group:
            for k, gamma in enumerate(to_go):
                by_token.setdefault(ids[k], []).append(gamma - position[k])
    token = {u: sum(values) / (len(values) + PRIOR) for u, values in by_token.items()}
    product = square = 0.0
    for group in groups:
        rests = [[gamma - position[k] - token[ids[k]] for k, gamma in enumerate(to_go)] for ids, to_go in group]
        for g, row in enumerate(rests):
            for k, rest in enumerate(row):
                mean = mean_of_others(rests, g, k)
                product, square = product + rest * mean, square + mean * mean
    return Lesson(position, token, min(max(product / square, 0.0), 1.0) if square else 0.0)


def action_value_weights(lesson: Lesson, responses: Sequence[Sequence[int]], entropies: Table) -> Table:
    """Weights of log pi(t_k): (Gamma_k - m_k - q(t_k) - c_k) / G; those of H_k and of sum_u q(u) pi(u) are 1/G."""
    rests = [
        [gamma - lesson.position.get(k, 0.0) - lesson.token.get(ids[k], 0.0) for k, gamma in enumerate(to_go)]
        for ids, to_go in zip(responses, entropy_to_go(entropies), strict=True)
    ]
    return [
        [(rest - lesson.share * mean_of_others(rests, g, k)) / len(rests) for k, rest in enumerate(row)]
        for g, row in enumerate(rests)
    ]


def entropy_to_go(entropies: Table) -> Table:
    """Gamma_k = sum_{j>k} H_j of each response."""
    return [[sum(row[k + 1 :]) for k in range(len(row))] for row in entropies]


def mean_of_others(table: Table, g: int, k: int) -> float:
    """Mean at position k over the other rows that reach so far; 0 where there is none."""
    others = [row[k] for h, row in enumerate(table) if h != g and len(row) > k]
    return sum(others) / len(others) if others else 0.0
