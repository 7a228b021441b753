"""The estimator that learns from another batch, by its definition in plain loops (docs/variance-reduction.md).

Shares nothing with :mod:`.action_values` but the tables; the other side of the ``definition`` check.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_entropy.rollouts import ActionValues

Table = list[list[float]]


def action_value_weights(learnt: ActionValues, responses: Sequence[Sequence[int]], entropies: Table) -> Table:
    """Weights of log pi(t_k): (Gamma_k - m_k - q(t_k) - c_k) / G; those of H_k and of sum_u q(u) pi(u) are 1/G.

    The tables are taken as they are: whatever stands in them, the estimator's mean is the same.
    """
    position, q, share = learnt.position.tolist(), learnt.token.tolist(), float(learnt.share)
    rests = [
        [gamma - position[k] - (q[ids[k]] if ids[k] < len(q) else 0.0) for k, gamma in enumerate(to_go)]
        for ids, to_go in zip(responses, entropy_to_go(entropies), strict=True)
    ]
    return [
        [(rest - share * mean_of_others(rests, g, k)) / len(rests) for k, rest in enumerate(row)]
        for g, row in enumerate(rests)
    ]


def entropy_to_go(entropies: Table) -> Table:
    """Gamma_k = sum_{j>k} H_j of each response."""
    return [[sum(row[k + 1 :]) for k in range(len(row))] for row in entropies]


def mean_of_others(table: Table, g: int, k: int) -> float:
    """Mean at position k over the other rows that reach so far; 0 where there is none."""
    others = [row[k] for h, row in enumerate(table) if h != g and len(row) > k]
    return sum(others) / len(others) if others else 0.0
