"""Permutation tests over prompts: exact levels under any tails, because prompts are exchangeable over runs.

The p-value is two-sided, 2 (1 + smaller count) / (1 + N), so it is never below 2 / (1 + N): that resolution
is reported with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MOST_SHUFFLES = 200_000
FIRST_SHUFFLES = 2_000
BATCH_ENTRIES = 2_000_000


@dataclass(frozen=True)
class PermutationResult:
    """Two-sided ``p_value``, its ``resolution`` (the smallest p these shuffles could give), the shuffled statistics."""

    p_value: float
    resolution: float
    shuffled: np.ndarray


def permutation_test(
    seen: float,
    pooled: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    rng: np.random.Generator,
    alpha: float = 0.0,
) -> PermutationResult:
    """Compare ``seen`` with the statistic on shuffles of ``pooled`` ``[n]``.

    ``statistic`` maps shuffled rows ``[batch, n]`` to ``[batch]``.  Shuffling goes on tenfold, up to 40 / alpha
    (at least 2e3, at most 2e5; alpha 0 means the most), while the p-value is small enough to matter.  Stopping
    early can only turn a rejection into none, so the level holds.
    """
    most = MOST_SHUFFLES if alpha <= 0 else int(min(MOST_SHUFFLES, max(FIRST_SHUFFLES, math.ceil(40 / alpha))))
    shuffled = np.empty(0)
    target = min(FIRST_SHUFFLES, most)
    while True:
        shuffled = np.concatenate([shuffled, _shuffled(pooled, statistic, target - len(shuffled), rng)])
        count = min(int((shuffled >= seen).sum()), int((shuffled <= seen).sum()))
        p = min(1.0, 2 * (1 + count) / (1 + len(shuffled)))
        if len(shuffled) >= most or p > max(100 / len(shuffled), 2 * alpha):
            return PermutationResult(p, 2 / (1 + len(shuffled)), shuffled)
        target = min(10 * target, most)


def _shuffled(
    pooled: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], draws: int, rng: np.random.Generator
) -> np.ndarray:
    """The statistic on ``draws`` shuffles, in batches that bound memory."""
    per_batch = max(1, BATCH_ENTRIES // max(1, len(pooled)))
    out = [np.empty(0)]
    for done in range(0, draws, per_batch):
        rows = min(per_batch, draws - done)
        out.append(statistic(rng.permuted(np.broadcast_to(pooled, (rows, len(pooled))), axis=1)))
    return np.concatenate(out)


def run_moments(table: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(means, squared standard errors with ddof = 1), ``[batch, R]``, of R consecutive runs of ``sizes`` scalars."""
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    means = np.add.reduceat(table, starts, axis=1) / sizes
    squares = np.add.reduceat(np.square(table), starts, axis=1)
    # Rounding can leave a run of equal scalars a hair below zero.
    return means, np.maximum(squares / sizes - np.square(means), 0.0) / (sizes - 1)
