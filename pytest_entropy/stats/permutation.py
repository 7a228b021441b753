"""Permutation tests over prompts: exact levels under any tails, because prompts are exchangeable over runs.

The p-value is two-sided, 2 (1 + smaller count) / (1 + N), so it is never below 2 / (1 + N), nor below what the
number of distinct arrangements allows: that resolution is reported with it.  P(p <= x) <= x holds at every x,
whatever N and wherever shuffling stopped; ties count as extreme.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MOST_SHUFFLES = 200_000
FIRST_SHUFFLES = 2_000
BATCH_ENTRIES = 2_000_000


@dataclass(frozen=True)
class PermutationResult:
    """Two-sided ``p_value``, its ``resolution`` (the smallest p there could have been), the shuffled statistics."""

    p_value: float
    resolution: float
    shuffled: np.ndarray

    def interval(self, seen: float, confidence: float = 0.95) -> tuple[float, float]:
        """Shifts of the statistic that the same shuffles would not reject at 1 - confidence."""
        # No interpolation: a shuffle may be infinite.
        low, high = np.quantile(self.shuffled, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")
        return seen - float(high), seen - float(low)


def most_shuffles(alpha: float) -> int:
    """The shuffles a rejection at ``alpha`` deserves: 10 / alpha, at least 2e3 and at most 2e5 (alpha 0: the most)."""
    return MOST_SHUFFLES if alpha <= 0 else int(min(MOST_SHUFFLES, max(FIRST_SHUFFLES, math.ceil(10 / alpha))))


def permutation_test(
    seen: float,
    pooled: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    sizes: Sequence[int] | np.ndarray,
    rng: np.random.Generator,
    alpha: float = 0.0,
    shuffles: int | None = None,
    lower_seen: float | None = None,
) -> PermutationResult:
    """Compare ``seen`` with the statistic on shuffles of ``pooled`` ``[n]``, runs of ``sizes`` scalars in a row.

    ``statistic`` maps shuffled rows ``[batch, n]`` to ``[batch]``.  Shuffling goes on tenfold, up to ``shuffles``
    (:func:`most_shuffles` if left out), while the p-value is small enough to matter: p = 0.05 from 2000 shuffles
    is settled, p = 0.001 is not.  What continues can only lose significance, so stopping early is valid.

    ``lower_seen`` is what the shuffles below are compared with, where a correct statistic may lie below theirs by so
    much; with infinity only the upper side rejects.

    Raises:
        ValueError: fewer than 1 shuffle, or ``lower_seen`` below ``seen``.
    """
    most = most_shuffles(alpha) if shuffles is None else shuffles
    if most < 1:
        raise ValueError(f"shuffles is {shuffles}, it must be at least 1")
    lower = seen if lower_seen is None else lower_seen
    if lower < seen:
        raise ValueError(f"lower_seen is {lower_seen}, it must not be below what was seen, {seen}")
    resolution = max(2 / (1 + most), min(1.0, 2 / arrangements(sizes)))
    shuffled = np.empty(0)
    target = min(FIRST_SHUFFLES, most)
    while True:
        shuffled = np.concatenate([shuffled, _shuffled(pooled, statistic, target - len(shuffled), rng)])
        # Equal arrangements summed in another order differ by rounding; they are ties.
        slack = 1e-12 * max(1.0, abs(seen)) if math.isfinite(seen) else 0.0
        count = min(int((shuffled >= seen - slack).sum()), int((shuffled <= lower + slack).sum()))
        p = min(1.0, 2 * (1 + count) / (1 + len(shuffled)))
        if len(shuffled) >= most or p > max(100 / len(shuffled), 2 * alpha):
            return PermutationResult(p, resolution, shuffled)
        target = min(10 * target, most)


def arrangements(sizes: Sequence[int] | np.ndarray) -> float:
    """Distinct ways to deal the scalars to runs of these sizes, runs of one size being alike (inf from 1e300)."""
    counts = [int(size) for size in sizes]
    log = math.lgamma(sum(counts) + 1) - math.fsum(math.lgamma(size + 1) for size in counts)
    log -= math.fsum(math.lgamma(alike + 1) for alike in Counter(counts).values())
    return math.exp(log) if log < 690 else math.inf


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


def unit_spread(values: np.ndarray) -> tuple[np.ndarray, float]:
    """(centred values over their spread, the spread); squares of what comes back neither overflow nor vanish."""
    largest = float(np.abs(values).max())
    scaled = values / largest
    centred = scaled - scaled.mean()
    spread = math.sqrt(float(np.square(centred).mean()))
    return centred / spread, spread * largest
