"""Is the reported standard error the spread of repeated measurements?  A permutation test over prompts.

Null hypothesis: prompts are exchangeable over runs, delta = scale mean(s), SE^2 = scale^2 var(s, ddof=1) / B_E.  The
statistic is log(var_r(delta) / mean_r(SE^2)); its null distribution comes from shuffling the pooled scalars over the
runs, so the level holds whatever their tails.

Small sets of prompts: where every run draws the share f of one finite set of prompts without replacement, runs share
prompts, and the square of their spread lies between 1 - f and 1 times SE^2 (the error for prompts like these), wherever
the variance is.  Where it is known which prompts recur, shuffled runs share them as the real ones do
(``recurrence.py``), and the test is exact and two-sided at any f.  Where it is not, only a ratio below that whole range
counts as too small, the smallest ratio that is detected for certain grows by 1 / sqrt(1 - f), and where a run leaves
out fewer than ``FEWEST_LEFT_OUT`` prompts, only a spread that is too large fails (docs/statistics.md, "Small prompt
sets").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pytest_entropy.stats.calibration_power import CalibrationPower, loss_by_sharing
from pytest_entropy.stats.outcome import CheckOutcome, require, require_rates, verdict_of
from pytest_entropy.stats.permutation import PermutationResult, permutation_test, run_moments, unit_spread
from pytest_entropy.stats.recurrence import Recurrence

NULL = "the spread of delta_h1 over runs is what the reported standard errors say"
LIKELY_CAUSES = "a wrong ddof or a second division by B_E, prompts that are not independent, or microbatch scaling"
UNIT = "spread / SE"
SMALLEST_RUNS = 3
# With fewer prompts left out, the differences between runs are as heavy-tailed as a single prompt.
FEWEST_LEFT_OUT = 8
# A spread below 1e-5 of the standard error is rounding, and counts as this much.
SMALLEST_LOG_RATIO = math.log(1e-10)
TIE = 1e-9
DO_NOT_DIFFER = (
    "the answers to one prompt hardly differ and the runs draw the same prompts, so shuffled runs are no other than "
    "these: give more prompts, a smaller B_E, or --with-replacement"
)


def check_se_calibration(
    per_prompt: Sequence[np.ndarray],
    delta: Sequence[float],
    se: Sequence[float],
    *,
    scale: float,
    alpha: float,
    rng: np.random.Generator,
    name: str = "se_calibration",
    effect_of_interest: float | None = None,
    power: float = 0.95,
    shuffles: int | None = None,
    sampling_fraction: float = 0.0,
    prompts: Sequence[Sequence[int]] | None = None,
    upper_bounds: bool = False,
) -> CheckOutcome:
    """Check the spread of delta_h1 over R runs against the standard errors that the probe reported.

    Detects a wrong ddof or scale in the reported errors, and prompts that are not independent within a run.
    Inconclusive with fewer than 3 runs, with equal scalars, where arrangements or ``shuffles`` are too few for
    ``alpha``, or R runs for ``effect_of_interest``, or where no shuffle differs from the runs.

    Args:
        per_prompt: R arrays ``[B_E]`` of s_n, nats per unit of eta.
        delta, se: R values of delta_h1 and its standard error, nats.
        scale, effect_of_interest: eta; a ratio spread / SE above 1.
        alpha, power: false-alarm rate, and chance of detecting ``effect_of_interest``, both in (0, 1).
        rng, name, shuffles: draws the shuffles; of the outcome; the most shuffles, by ``alpha`` if left out.
        sampling_fraction: the share f of one set of prompts that a run draws, in [0, 1]; 0 with replacement.
        prompts: of each run, a number per prompt, equal for equal prompts; None where it was not recorded.
        upper_bounds: the standard errors may be too large, so that a spread below them is no fault.

    Returns:
        The outcome; its effect is spread / SE, 1 under the null hypothesis (where prompts recur, relative to its median
        over the shuffles), its interval the ratios that would not be rejected at 5 %.

    Raises:
        ValueError: lengths do not match, a run has fewer than 2 prompts, or a number is out of range or not finite.
    """
    _require_ranges(name, sampling_fraction, effect_of_interest, alpha=alpha, power=power)
    pooled, sizes = _validated(name, per_prompt, delta, se, scale)
    if len(sizes) < SMALLEST_RUNS or np.ptp(pooled) == 0:
        return _nothing_to_compare(name, len(sizes), alpha, effect_of_interest)
    recurrence = _recurrence(name, prompts if sampling_fraction else None, sizes)
    hidden = 0.0 if recurrence else sampling_fraction
    least = 1.0 if upper_bounds else hidden
    log_ratio, result = _against_shuffles(pooled, sizes, delta, se, scale, least, rng, alpha, shuffles, recurrence)
    detectable = CalibrationPower.of(len(sizes), hidden, effect_of_interest, alpha=alpha, power=power)
    judged = _outcome if recurrence is None else _of_recurring
    return judged(name, log_ratio, result, detectable, alpha)


def _recurrence(name: str, prompts: Sequence[Sequence[int]] | None, sizes: np.ndarray) -> Recurrence | None:
    """How prompts recur over the runs; None where none does, or where that is not known."""
    if prompts is None:
        return None
    if [len(run) for run in prompts] != sizes.tolist():
        raise ValueError(f"{name}: prompts and scalars differ in number")
    found = Recurrence.of(prompts)
    return found if found.recurs else None


def _of_recurring(
    name: str, log_ratio: float, result: PermutationResult, detectable: CalibrationPower, alpha: float
) -> CheckOutcome:
    """The outcome relative to shuffled runs, which share prompts too and spread less than the standard error."""
    middle = float(np.median(result.shuffled))
    outcome = _outcome(name, log_ratio - middle, replace(result, shuffled=result.shuffled - middle), detectable, alpha)
    if outcome.verdict == "pass" and np.ptp(result.shuffled) <= TIE:
        return replace(outcome, verdict="inconclusive", reason=DO_NOT_DIFFER)
    return outcome


def _against_shuffles(
    pooled: np.ndarray,
    sizes: np.ndarray,
    delta: Sequence[float],
    se: Sequence[float],
    scale: float,
    sampling_fraction: float,
    rng: np.random.Generator,
    alpha: float,
    shuffles: int | None,
    recurrence: Recurrence | None,
) -> tuple[float, PermutationResult]:
    """The observed log(spread^2 / SE^2), and its permutation test."""

    def statistic(table: np.ndarray) -> np.ndarray:
        means, variances = run_moments(table, sizes)
        return _log_ratio(means, variances)

    centred, spread = unit_spread(pooled)
    unit = spread * abs(scale)
    reported = np.asarray(delta, dtype=float) / unit, np.square(np.asarray(se, dtype=float) / unit)
    observed = float(_log_ratio(reported[0][None], reported[1][None])[0])
    # Where runs leave out a handful of prompts, or none, a correct probe may have hardly any spread: a collapsed policy
    # answers alike, and runs differ only by the few prompts that they leave out.
    left_out = float(sizes.max()) * (1 / sampling_fraction - 1) if sampling_fraction else math.inf
    lower = observed + loss_by_sharing(sampling_fraction) if left_out >= FEWEST_LEFT_OUT else math.inf
    result = permutation_test(
        observed, centred, statistic, sizes=sizes, rng=rng, alpha=alpha, shuffles=shuffles, lower_observed=lower,
        recurrence=recurrence,
    )  # fmt: skip
    return observed, result


def _outcome(
    name: str, log_ratio: float, result: PermutationResult, detectable: CalibrationPower, alpha: float
) -> CheckOutcome:
    effect = ci = None
    if math.isfinite(log_ratio):
        effect = math.exp(log_ratio / 2)
        low, high = result.interval(log_ratio)
        high += loss_by_sharing(detectable.sampling_fraction)
        ci = (math.exp(low / 2), math.exp(high / 2)) if math.isfinite(low) and math.isfinite(high) else None
    return CheckOutcome(
        name=name,
        null=NULL,
        statistic=log_ratio if math.isfinite(log_ratio) else None,
        p_value=result.p_value,
        alpha=alpha,
        effect=effect,
        ci=ci,
        unit=UNIT,
        n=detectable.runs,
        verdict=verdict_of(result.p_value, alpha, blind=result.resolution > alpha or detectable.is_blind),
        minimum_detectable_effect=detectable.smallest if math.isfinite(detectable.smallest) else None,
        effect_of_interest=detectable.interest,
        samples_needed=detectable.needed,
        likely_causes=LIKELY_CAUSES,
        p_resolution=result.resolution,
        reason=detectable.reason,
    )


def _nothing_to_compare(name: str, runs: int, alpha: float, interest: float | None) -> CheckOutcome:
    """The inconclusive outcome of fewer than 3 runs, or of scalars that are all equal."""
    return CheckOutcome(
        name, NULL, None, None, alpha, None, None, UNIT, runs, "inconclusive", None, interest,
        SMALLEST_RUNS if runs < SMALLEST_RUNS else None, LIKELY_CAUSES,
    )  # fmt: skip


def _require_ranges(name: str, fraction: float, interest: float | None, **rates: float) -> None:
    require_rates(**rates)
    if not 0 <= fraction <= 1:
        raise ValueError(f"{name}: sampling_fraction is {fraction}, it must lie in [0, 1]")
    if interest is not None and not interest > 1:
        raise ValueError(f"{name}: effect_of_interest is {interest}, a ratio spread / SE above 1 is meant")


def assert_se_calibration(
    per_prompt: Sequence[np.ndarray],
    delta: Sequence[float],
    se: Sequence[float],
    *,
    scale: float,
    alpha: float,
    rng: np.random.Generator,
    name: str = "se_calibration",
    effect_of_interest: float | None = None,
    power: float = 0.95,
    sampling_fraction: float = 0.0,
    prompts: Sequence[Sequence[int]] | None = None,
    upper_bounds: bool = False,
) -> CheckOutcome:
    """Run :func:`check_se_calibration` and raise unless the outcome is a pass.

    Args: those of :func:`check_se_calibration`.

    Raises:
        StatisticalFailure: the spread differs from the reported errors.
        Inconclusive: the runs cannot decide.
    """
    __tracebackhide__ = True
    return require(
        check_se_calibration(
            per_prompt, delta, se, scale=scale, alpha=alpha, rng=rng, name=name,
            effect_of_interest=effect_of_interest, power=power, sampling_fraction=sampling_fraction, prompts=prompts,
            upper_bounds=upper_bounds,
        )
    )  # fmt: skip


def _validated(
    name: str, per_prompt: Sequence[np.ndarray], delta: Sequence[float], se: Sequence[float], scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled scalars ``[sum of B_E]`` and the number of prompts of each run ``[R]``."""
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
    # A standard error of exactly zero is an infinite ratio, more extreme than any shuffle.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(delta.var(axis=1, ddof=1)) - np.log(variances.mean(axis=1))
    floored: np.ndarray = np.maximum(ratio, SMALLEST_LOG_RATIO)
    return floored
