"""Is the reported standard error the spread of repeated measurements?  A permutation test over prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from pytest_entropy.stats.outcome import CheckOutcome

MOST_PERMUTATIONS = 200_000
BATCH_ENTRIES = 4_000_000


def check_se_calibration(
    per_prompt: Sequence[np.ndarray],
    delta: Sequence[float],
    se: Sequence[float],
    *,
    scale: float,
    alpha: float,
    rng: np.random.Generator,
    name: str = "se_calibration",
) -> CheckOutcome:
    """Spread of delta_h1 over R runs against the reported standard errors.

    Null: prompts are exchangeable over runs and SE^2 = scale^2 var(s, ddof=1)/B_E.  The statistic is
    log(var_r(delta) / mean_r(SE^2)); its null distribution comes from shuffling the pooled scalars over the
    runs, so the level holds whatever their tails.  Sees a wrong ddof or scale in what was reported, and
    prompts that are not independent within a run.

    Raises:
        ValueError: lengths that do not match, or numbers that are not finite.
    """
    runs = len(per_prompt)
    if not runs == len(delta) == len(se):
        raise ValueError(f"{name}: {runs} runs of scalars, {len(delta)} values, {len(se)} standard errors")
    pooled = np.concatenate([np.asarray(s, dtype=float) for s in per_prompt]) if runs else np.empty(0)
    if not (np.isfinite(pooled).all() and np.isfinite(delta).all() and np.isfinite(se).all()):
        raise ValueError(f"{name}: a value is not finite")
    sizes = np.array([len(s) for s in per_prompt])
    null = "the spread of delta_h1 over runs is what the reported standard errors say"
    points_to = "a wrong ddof or a second division by B_E, prompts that are not independent, or microbatch scaling"
    if runs < 3 or pooled.std() == 0:
        return CheckOutcome(
            name, null, None, None, alpha, None, None, "spread / SE", runs, "inconclusive", None, None, 3, points_to
        )  # fmt: skip
    seen = _statistic(np.asarray(delta, dtype=float), np.square(se))
    draws = int(min(MOST_PERMUTATIONS, max(2000, math.ceil(40 / alpha))))
    shuffled = permuted_statistics(pooled, sizes, scale, draws, rng)
    above = int((shuffled >= seen).sum())
    below = int((shuffled <= seen).sum())
    p = min(1.0, 2 * (1 + min(above, below)) / (1 + draws))
    ratio = math.exp(seen / 2)
    low, high = np.quantile(shuffled, [0.025, 0.975])
    ci = (math.exp((seen - high) / 2), math.exp((seen - low) / 2))
    return CheckOutcome(
        name, null, seen, p, alpha, ratio, ci, "spread / SE", runs, "fail" if p < alpha else "pass",
        min_discrepancy_se_calibration(runs, alpha=alpha), None, None, points_to,
    )  # fmt: skip


def _statistic(delta: np.ndarray, variances: np.ndarray) -> float:
    return float(np.log(delta.var(ddof=1) / variances.mean()))


def permuted_statistics(
    pooled: np.ndarray, sizes: np.ndarray, scale: float, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """The statistic on ``draws`` shuffles of the pooled scalars, in batches that bound memory."""
    ends = np.cumsum(sizes)[:-1]
    starts = np.concatenate([[0], ends])
    out = []
    per_batch = max(1, BATCH_ENTRIES // len(pooled))
    centred = (pooled - pooled.mean()) * scale
    for done in range(0, draws, per_batch):
        rows = min(per_batch, draws - done)
        table = rng.permuted(np.broadcast_to(centred, (rows, len(pooled))), axis=1)
        means = np.add.reduceat(table, starts, axis=1) / sizes
        squares = np.add.reduceat(np.square(table), starts, axis=1)
        variances = (squares / sizes - np.square(means)) / (sizes - 1)
        out.append(np.log(means.var(axis=1, ddof=1) / variances.mean(axis=1)))
    return np.concatenate(out)


def min_discrepancy_se_calibration(runs: int, *, alpha: float, power: float = 0.95) -> float:
    """The smallest ratio spread/SE above 1 that R runs see (chi-square approximation)."""
    if runs < 2:
        raise ValueError(f"runs is {runs}: a spread needs at least 2")
    return math.sqrt(stats.chi2.isf(alpha / 2, runs - 1) / stats.chi2.isf(power, runs - 1))


def min_num_samples_se_calibration(ratio: float, *, alpha: float, power: float = 0.95) -> int:
    """The number of runs that see a ratio spread/SE of ``ratio`` > 1."""
    if not ratio > 1:
        raise ValueError(f"ratio is {ratio}, it must exceed 1")
    runs = 3
    while min_discrepancy_se_calibration(runs, alpha=alpha, power=power) > ratio:
        runs = max(runs + 1, int(runs * 1.02))
    return runs
