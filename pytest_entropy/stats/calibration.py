"""Is the reported standard error the spread of repeated measurements?  A permutation test over prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy

from pytest_entropy.stats.guarded_t import smallest_n
from pytest_entropy.stats.outcome import CheckOutcome, Verdict, require, require_rates
from pytest_entropy.stats.permutation import permutation_test, run_moments, unit_spread

NULL = "the spread of delta_h1 over runs is what the reported standard errors say"
POINTS_TO = "a wrong ddof or a second division by B_E, prompts that are not independent, or microbatch scaling"
UNIT = "spread / SE"
SMALLEST_RUNS = 3
# Prompts that a run leaves out of a set, below which what differs between runs is as heavy-tailed as a single prompt.
FEWEST_LEFT_OUT = 8


def check_se_calibration(
    per_prompt: Sequence[np.ndarray],
    delta: Sequence[float],
    se: Sequence[float],
    *,
    scale: float,
    alpha: float,
    rng: np.random.Generator,
    name: str = "se_calibration",
    declared_effect: float | None = None,
    power: float = 0.95,
    shuffles: int | None = None,
    sampling_fraction: float = 0.0,
) -> CheckOutcome:
    """Spread of delta_h1 over R runs against the standard errors the probe reported.

    Null: prompts are exchangeable over runs, delta = scale mean(s), SE^2 = scale^2 var(s, ddof=1) / B_E.  The
    statistic is log(var_r(delta) / mean_r(SE^2)); its null distribution comes from shuffling the pooled scalars
    over the runs, so the level holds whatever their tails.  The effect is the ratio spread / SE, 1 under the
    null, and the interval holds the ratios that would not be rejected at 5 %.

    Where every run draws the share ``sampling_fraction`` f of one finite set of prompts, without replacement, runs
    share prompts, and their spread is that of the standard error (for prompts like these) less the shared part: its
    square lies between 1 - f and 1 times SE^2, wherever the variance is.  So a spread that is too small is one below
    all of that, and the smallest ratio that is seen for certain grows by 1 / sqrt(1 - f).  Where a run leaves out fewer
    than ``FEWEST_LEFT_OUT`` prompts only a spread that is too large is red.

    Sees: a wrong ddof or scale in what was reported (at B_E = 2 and above in proportion), prompts that are not
    independent within a run.  ``declared_effect`` is a ratio above 1.  Inconclusive with fewer than 3 runs, with
    scalars that are all equal, with too few distinct arrangements or ``shuffles`` to reject at ``alpha``, or where
    R runs cannot see ``declared_effect``.

    Raises:
        ValueError: lengths that do not match, runs of fewer than 2 prompts, a negative SE, a zero scale, numbers
            that are not finite, alpha or power outside (0, 1), a declared effect of 1 or less, a sampling fraction
            outside [0, 1].
    """
    require_rates(alpha=alpha, power=power)
    if not 0 <= sampling_fraction <= 1:
        raise ValueError(f"{name}: sampling_fraction is {sampling_fraction}, it must lie in [0, 1]")
    pooled, sizes = _validated(name, per_prompt, delta, se, scale)
    runs = len(sizes)
    if declared_effect is not None and not declared_effect > 1:
        raise ValueError(f"{name}: declared_effect is {declared_effect}, a ratio spread / SE above 1 is meant")
    if runs < SMALLEST_RUNS or np.ptp(pooled) == 0:
        return CheckOutcome(
            name, NULL, None, None, alpha, None, None, UNIT, runs, "inconclusive", None, declared_effect,
            SMALLEST_RUNS if runs < SMALLEST_RUNS else None, POINTS_TO,
        )  # fmt: skip

    def statistic(table: np.ndarray) -> np.ndarray:
        means, variances = run_moments(table, sizes)
        return _log_ratio(means, variances)

    centred, spread = unit_spread(pooled)
    unit = spread * abs(scale)
    reported = np.asarray(delta, dtype=float) / unit, np.square(np.asarray(se, dtype=float) / unit)
    seen = float(_log_ratio(reported[0][None], reported[1][None])[0])
    # What sharing prompts may have taken from log(spread^2 / SE^2), at most.
    shared = -math.log1p(-sampling_fraction) if sampling_fraction < 1 else math.inf
    # Where runs leave out a handful of prompts, or none, hardly any spread may be right: a collapsed policy answers
    # alike, and what differs between runs is what the few left out are like.
    left_out = float(sizes.max()) * (1 / sampling_fraction - 1) if sampling_fraction else math.inf
    lower = seen + shared if left_out >= FEWEST_LEFT_OUT else math.inf
    result = permutation_test(
        seen, centred, statistic, sizes=sizes, rng=rng, alpha=alpha, shuffles=shuffles, lower_seen=lower
    )
    alone = min_discrepancy_se_calibration(runs, alpha=alpha, power=power)
    smallest = alone * math.exp(shared / 2)
    too_small = declared_effect is not None and smallest > declared_effect
    needed = None
    if too_small and declared_effect is not None:
        lessened = declared_effect * math.exp(-shared / 2)
        if lessened > 1:
            needed = min_num_samples_se_calibration(lessened, alpha=alpha, power=power)
    blind = result.resolution > alpha
    verdict: Verdict = "fail" if result.p_value < alpha else "inconclusive" if blind or too_small else "pass"
    effect = ci = None
    if math.isfinite(seen):
        effect = math.exp(seen / 2)
        low, high = result.interval(seen)
        high += shared
        ci = (math.exp(low / 2), math.exp(high / 2)) if math.isfinite(low) and math.isfinite(high) else None
    return CheckOutcome(
        name, NULL, seen if math.isfinite(seen) else None, result.p_value, alpha, effect, ci, UNIT, runs,
        verdict, smallest if math.isfinite(smallest) else None, declared_effect, needed, POINTS_TO, result.resolution,
        _sharing(sampling_fraction) if too_small and not alone > (declared_effect or math.inf) else "",
    )  # fmt: skip


def _sharing(fraction: float) -> str:
    """Why runs on a small set of prompts say little of the error for prompts like these."""
    return (
        f"every run draws {fraction:.0%} of the prompts there are, so runs share prompts and spread less than the "
        "standard error for prompts like these, by an unknown part of what differs between prompts: give more prompts, "
        "a smaller B_E, or --with-replacement"
    )


def assert_se_calibration(
    per_prompt: Sequence[np.ndarray],
    delta: Sequence[float],
    se: Sequence[float],
    *,
    scale: float,
    alpha: float,
    rng: np.random.Generator,
    name: str = "se_calibration",
    declared_effect: float | None = None,
    power: float = 0.95,
    sampling_fraction: float = 0.0,
) -> CheckOutcome:
    """:func:`check_se_calibration`, raising as :func:`pytest_entropy.stats.require` does."""
    __tracebackhide__ = True
    return require(
        check_se_calibration(
            per_prompt, delta, se, scale=scale, alpha=alpha, rng=rng, name=name,
            declared_effect=declared_effect, power=power, sampling_fraction=sampling_fraction,
        )
    )  # fmt: skip


def _validated(
    name: str, per_prompt: Sequence[np.ndarray], delta: Sequence[float], se: Sequence[float], scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled scalars and the sizes of the runs."""
    runs = len(per_prompt)
    if not runs == len(delta) == len(se):
        raise ValueError(f"{name}: {runs} runs of scalars, {len(delta)} values, {len(se)} standard errors")
    sizes = np.array([len(s) for s in per_prompt], dtype=int)
    if (sizes < 2).any():
        raise ValueError(f"{name}: a run of fewer than 2 prompts has no standard error")
    pooled = np.concatenate([np.asarray(s, dtype=float) for s in per_prompt]) if runs else np.empty(0)
    if not (np.isfinite(pooled).all() and np.isfinite(delta).all() and np.isfinite(se).all()):
        raise ValueError(f"{name}: a value is not finite")
    if (np.asarray(se) < 0).any():
        raise ValueError(f"{name}: a standard error is negative")
    if not (scale != 0 and math.isfinite(scale)):
        raise ValueError(f"{name}: the scale is {scale}, it must be finite and not zero")
    return pooled, sizes


def _log_ratio(delta: np.ndarray, variances: np.ndarray) -> np.ndarray:
    # A spread or a standard error of exactly zero is an infinite ratio, more extreme than any shuffle.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(delta.var(axis=1, ddof=1)) - np.log(variances.mean(axis=1))


def min_discrepancy_se_calibration(runs: int, *, alpha: float, power: float = 0.95) -> float:
    """The smallest ratio spread / SE above 1 that R runs see.

    Chi-square approximation: delta_h1 of a run is taken as normal and the reported SE as exact.

    Raises:
        ValueError: fewer than 2 runs, alpha or power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    if runs < 2:
        raise ValueError(f"runs is {runs}: a spread needs at least 2")
    return math.sqrt(scipy.stats.chi2.isf(alpha / 2, runs - 1) / scipy.stats.chi2.isf(power, runs - 1))


def min_num_samples_se_calibration(ratio: float, *, alpha: float, power: float = 0.95) -> int:
    """The number of runs that see a ratio spread / SE of ``ratio`` > 1; inverts the function above."""
    if not ratio > 1:
        raise ValueError(f"ratio is {ratio}, it must exceed 1")
    return smallest_n(lambda r: min_discrepancy_se_calibration(r, alpha=alpha, power=power), ratio, at_least=2)
