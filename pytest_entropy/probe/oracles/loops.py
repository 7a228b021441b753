"""Plain loops over one prompt's responses: what definitions are written in, sharing nothing with tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Table = list[list[float]]


@dataclass(frozen=True)
class Taught:
    """What another batch taught, as plain numbers in nats: ``position[k]``, ``token[u]``, ``share``."""

    position: list[float]
    token: list[float]
    share: float


@dataclass(frozen=True)
class OnePrompt:
    """One prompt's responses: token ids, log pi(t_k) and H_k, response by response, in nats.

    ``taught`` is there where the estimator learns and the rollouts carry what another batch taught.
    """

    log_probs: Table
    entropies: Table
    responses: Sequence[Sequence[int]]
    taught: Taught | None = None

    @property
    def group(self) -> int:
        """G, the number of responses."""
        return len(self.log_probs)


@dataclass(frozen=True)
class LoopWeights:
    """Weights of a surrogate's terms, response by response: of log pi(t_k), of H_k, and q of sum_u q(u) pi(u)."""

    log_prob: Table
    entropy: Table
    q: Sequence[float] = ()


def to_go(entropies: Table) -> Table:
    """Gamma_k = sum_{j>k} H_j of each response."""
    return [[sum(row[k + 1 :]) for k in range(len(row))] for row in entropies]


def mean_of_others(table: Table, g: int, k: int) -> float:
    """Mean at position k over the other rows that reach so far; 0 where there is none."""
    others = [row[k] for h, row in enumerate(table) if h != g and len(row) > k]
    return sum(others) / len(others) if others else 0.0


def equal(table: Table) -> Table:
    """1/G for every token."""
    return [[1 / len(table)] * len(row) for row in table]


def zero(table: Table) -> Table:
    """0 for every token."""
    return [[0.0] * len(row) for row in table]


def per_response(factors: Sequence[float], table: Table) -> Table:
    """Each response's factor, divided by G, for each of its tokens."""
    return [[factor / len(table)] * len(row) for factor, row in zip(factors, table, strict=True)]
