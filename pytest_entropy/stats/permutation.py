"""Permutation tests over prompts: exact levels under any tails, because prompts are exchangeable over runs.

The p-value is two-sided, 2 (1 + smaller count) / (1 + N) (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9, 39).
So it is never below 2 / (1 + N), nor below 2 over the number of distinct arrangements; the larger of these is reported
as its resolution.  P(p <= x) <= x holds at every x, whatever N and wherever shuffling stopped; ties count as extreme.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_entropy.stats.recurrence import Recurrence

MOST_SHUFFLES = 200_000
FIRST_SHUFFLES = 2_000
BATCH_ENTRIES = 2_000_000


@dataclass(frozen=True)
class PermutationResult:
    """Two-sided ``p_value``, its ``resolution`` (the smallest p possible), and the shuffles' statistics ``[N]``."""

    p_value: float
    resolution: float
    shuffled: np.ndarray

    def interval(self, observed: float, confidence: float = 0.95) -> tuple[float, float]:
        """Interval (low, high) of the statistic's shifts that the same shuffles would not reject.

        Args:
            observed: the statistic of the sample.
            confidence: one minus the level of that test, in (0, 1).
        """
        # No interpolation: a shuffle may be infinite.
        low, high = np.quantile(self.shuffled, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")
        return observed - float(high), observed - float(low)


def most_shuffles(alpha: float) -> int:
    """The shuffles to spend on a rejection at ``alpha``: 10 / alpha, within [2e3, 2e5]; the most for alpha 0.

    >>> most_shuffles(0.05), most_shuffles(1e-4), most_shuffles(0.0)
    (2000, 100000, 200000)
    """
    return MOST_SHUFFLES if alpha <= 0 else int(min(MOST_SHUFFLES, max(FIRST_SHUFFLES, math.ceil(10 / alpha))))


def permutation_test(
    observed: float,
    pooled: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    sizes: Sequence[int] | np.ndarray,
    rng: np.random.Generator,
    alpha: float = 0.0,
    shuffles: int | None = None,
    lower_observed: float | None = None,
    recurrence: Recurrence | None = None,
) -> PermutationResult:
    """Two-sided permutation test of the ``observed`` statistic, under prompts that are exchangeable over runs.

    Shuffling goes on tenfold, up to ``shuffles``, while the p-value is small enough to matter: p = 0.05 from 2000
    shuffles is settled, p = 0.001 is not.  Further shuffles can only lose significance, so stopping early is valid.

    Args:
        observed: the statistic of the sample.
        pooled, sizes: the scalars ``[n]`` of all runs, one run after the other; the number of scalars of each.
        statistic: maps shuffled rows ``[batch, n]`` to ``[batch]``.
        rng: source of the shuffles.
        alpha: the false-alarm rate that the number of shuffles has to resolve.
        shuffles: at most so many; :func:`most_shuffles` of ``alpha`` if left out.
        lower_observed: the value that smaller statistics are compared with, where a correct statistic may lie below
            its shuffles by the difference from ``observed``; with infinity only the upper side rejects.
        recurrence: which scalars belong to one prompt, where runs share prompts; shuffled runs then share them alike.

    Raises:
        ValueError: fewer than 1 shuffle, or ``lower_observed`` below ``observed``.
    """
    most = most_shuffles(alpha) if shuffles is None else shuffles
    if most < 1:
        raise ValueError(f"shuffles is {shuffles}, it must be at least 1")
    lower = observed if lower_observed is None else lower_observed
    if lower < observed:
        raise ValueError(f"lower_observed is {lower_observed}, it must not be below the observed statistic {observed}")
    distinct = arrangements(sizes) if recurrence is None else _exp(recurrence.log_arrangements)
    resolution = max(2 / (1 + most), min(1.0, 2 / distinct))
    shuffled = np.empty(0)
    target = min(FIRST_SHUFFLES, most)
    while True:
        shuffled = np.concatenate([shuffled, _shuffled(pooled, statistic, target - len(shuffled), rng, recurrence)])
        # Equal arrangements summed in another order differ by rounding; they are ties.
        slack = 1e-12 * max(1.0, abs(observed)) if math.isfinite(observed) else 0.0
        count = min(int((shuffled >= observed - slack).sum()), int((shuffled <= lower + slack).sum()))
        p = min(1.0, 2 * (1 + count) / (1 + len(shuffled)))
        if len(shuffled) >= most or p > max(100 / len(shuffled), 2 * alpha):
            return PermutationResult(p, resolution, shuffled)
        target = min(10 * target, most)


def arrangements(sizes: Sequence[int] | np.ndarray) -> float:
    """The number of distinct ways to deal the scalars to runs of these sizes, runs of one size alike (inf from 1e300).

    >>> round(arrangements([2, 2])), round(arrangements([1, 2]))
    (3, 3)
    """
    counts = [int(size) for size in sizes]
    log = math.lgamma(sum(counts) + 1) - math.fsum(math.lgamma(size + 1) for size in counts)
    log -= math.fsum(math.lgamma(alike + 1) for alike in Counter(counts).values())
    return _exp(log)


def _exp(log: float) -> float:
    return math.exp(log) if log < 690 else math.inf


def _shuffled(
    pooled: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    draws: int,
    rng: np.random.Generator,
    recurrence: Recurrence | None,
) -> np.ndarray:
    """The statistic on ``draws`` shuffles, in batches that bound memory."""
    per_batch = max(1, BATCH_ENTRIES // max(1, len(pooled)))
    out = [np.empty(0)]
    for done in range(0, draws, per_batch):
        rows = min(per_batch, draws - done)
        if recurrence is None:
            table = rng.permuted(np.broadcast_to(pooled, (rows, len(pooled))), axis=1)
        else:
            table = recurrence.shuffled(pooled, rows, rng)
        out.append(statistic(table))
    return np.concatenate(out)


def run_moments(table: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and squared standard errors (ddof = 1) of R consecutive runs, each ``[batch, R]``.

    >>> means, squares = run_moments(np.array([[1.0, 3.0, 2.0, 4.0]]), np.array([2, 2]))
    >>> means.tolist(), squares.tolist()
    ([[2.0, 3.0]], [[1.0, 1.0]])

    Args:
        table: scalars ``[batch, n]``, one run after the other in each row.
        sizes: the number of scalars of each run ``[R]``.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    means = np.add.reduceat(table, starts, axis=1) / sizes
    squares = np.add.reduceat(np.square(table), starts, axis=1)
    # Rounding can leave a run of equal scalars a hair below zero.
    return means, np.maximum(squares / sizes - np.square(means), 0.0) / (sizes - 1)


def unit_spread(values: np.ndarray) -> tuple[np.ndarray, float]:
    """(values centred and divided by their spread ``[n]``, the spread); no square overflows or vanishes."""
    largest = float(np.abs(values).max())
    scaled = values / largest
    centred = scaled - scaled.mean()
    spread = math.sqrt(float(np.square(centred).mean()))
    return centred / spread, spread * largest
