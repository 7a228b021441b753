"""Is the reported standard error the spread of repeated measurements?  A permutation test over prompts.

Null: prompts are exchangeable over runs, delta = scale mean(s), SE^2 = scale^2 var(s, ddof=1) / B_E.  The statistic
is log(var_r(delta) / mean_r(SE^2)); its null distribution comes from shuffling the pooled scalars over the runs, so the
level holds whatever their tails.

Where every run draws the share f of one finite set of prompts, without replacement, runs share prompts, and their
spread is that of the standard error (for prompts like these) less the shared part: its square lies between 1 - f and 1
times SE^2, wherever the variance is.  So a spread that is too small is one below all of that, and the smallest ratio
that is seen for certain grows by 1 / sqrt(1 - f).  Where a run leaves out fewer than ``FEWEST_LEFT_OUT`` prompts only a
spread that is too large is red.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from pytest_entropy.stats.guarded_t import smallest_n
from pytest_entropy.stats.outcome import CheckOutcome, is_blind, require, require_rates, verdict_of
from pytest_entropy.stats.permutation import PermutationResult, permutation_test, run_moments, unit_spread

NULL = "the spread of delta_h1 over runs is what the reported standard errors say"
LIKELY_CAUSES = "a wrong ddof or a second division by B_E, prompts that are not independent, or microbatch scaling"
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
    effect_of_interest: float | None = None,
    power: float = 0.95,
    shuffles: int | None = None,
    sampling_fraction: float = 0.0,
) -> CheckOutcome:
    """The spread of delta_h1 over R runs against the standard errors that the probe reported.

    Sees a wrong ddof or scale in what was reported (at B_E = 2 and above in proportion), and prompts that are not
    independent within a run.  Inconclusive with fewer than 3 runs, with scalars that are all equal, with too few
    distinct arrangements or ``shuffles`` to reject at ``alpha``, or where R runs cannot see ``effect_of_interest``.

    Args:
        per_prompt: R arrays ``[B_E]`` of s_n, nats per unit of eta.
        delta, se: R values of delta_h1 and its standard error, nats.
        scale: eta.
        effect_of_interest: a ratio spread / SE above 1.
        sampling_fraction: f in [0, 1], see above; 0 with replacement.

    Returns:
        The outcome; its effect is the ratio spread / SE, 1 under the null hypothesis, and its interval holds the
        ratios that would not be rejected at 5 %.

    Raises:
        ValueError: lengths that do not match, runs of fewer than 2 prompts, a negative SE, a zero scale, numbers
            that are not finite, alpha or power outside (0, 1), an effect of interest of 1 or less, a sampling fraction
            outside [0, 1].
    """
    require_rates(alpha=alpha, power=power)
    _require_fraction(name, sampling_fraction)
    pooled, sizes = _validated(name, per_prompt, delta, se, scale)
    if effect_of_interest is not None and not effect_of_interest > 1:
        raise ValueError(f"{name}: effect_of_interest is {effect_of_interest}, a ratio spread / SE above 1 is meant")
    if len(sizes) < SMALLEST_RUNS or np.ptp(pooled) == 0:
        return _nothing_to_compare(name, len(sizes), alpha, effect_of_interest)
    seen, result = _against_shuffles(pooled, sizes, delta, se, scale, sampling_fraction, rng, alpha, shuffles)
    reach = _Reach.of(len(sizes), sampling_fraction, effect_of_interest, alpha=alpha, power=power)
    return _outcome(name, seen, result, reach, alpha)


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
) -> tuple[float, PermutationResult]:
    """The log ratio seen, and how it compares with the shuffles."""

    def statistic(table: np.ndarray) -> np.ndarray:
        means, variances = run_moments(table, sizes)
        return _log_ratio(means, variances)

    centred, spread = unit_spread(pooled)
    unit = spread * abs(scale)
    reported = np.asarray(delta, dtype=float) / unit, np.square(np.asarray(se, dtype=float) / unit)
    seen = float(_log_ratio(reported[0][None], reported[1][None])[0])
    # Where runs leave out a handful of prompts, or none, hardly any spread may be right: a collapsed policy answers
    # alike, and what differs between runs is what the few left out are like.
    left_out = float(sizes.max()) * (1 / sampling_fraction - 1) if sampling_fraction else math.inf
    lower = seen + _shared(sampling_fraction) if left_out >= FEWEST_LEFT_OUT else math.inf
    result = permutation_test(
        seen, centred, statistic, sizes=sizes, rng=rng, alpha=alpha, shuffles=shuffles, lower_seen=lower
    )
    return seen, result


def _shared(sampling_fraction: float) -> float:
    """What sharing prompts may have taken from log(spread^2 / SE^2), at most."""
    return -math.log1p(-sampling_fraction) if sampling_fraction < 1 else math.inf


@dataclass(frozen=True)
class _Reach:
    """What ratio R runs see, ``alone`` and where they share prompts, against the ratio they have to see."""

    runs: int
    sampling_fraction: float
    alone: float
    smallest: float
    interest: float | None
    needed: int | None

    @classmethod
    def of(cls, runs: int, sampling_fraction: float, interest: float | None, *, alpha: float, power: float) -> _Reach:
        shared = _shared(sampling_fraction)
        alone = min_discrepancy_se_calibration(runs, alpha=alpha, power=power)
        smallest = alone * math.exp(shared / 2)
        needed = None
        if interest is not None and smallest > interest:
            lessened = interest * math.exp(-shared / 2)
            if lessened > 1:
                needed = min_num_samples_se_calibration(lessened, alpha=alpha, power=power)
        return cls(runs, sampling_fraction, alone, smallest, interest, needed)

    @property
    def is_blind(self) -> bool:
        return is_blind(self.smallest, self.interest)

    @property
    def reason(self) -> str:
        """Why the runs are blind, where it is not their number alone."""
        by_sharing = self.is_blind and not self.alone > (self.interest or math.inf)
        return _sharing(self.sampling_fraction) if by_sharing else ""


def _outcome(name: str, seen: float, result: PermutationResult, reach: _Reach, alpha: float) -> CheckOutcome:
    effect = ci = None
    if math.isfinite(seen):
        effect = math.exp(seen / 2)
        low, high = result.interval(seen)
        high += _shared(reach.sampling_fraction)
        ci = (math.exp(low / 2), math.exp(high / 2)) if math.isfinite(low) and math.isfinite(high) else None
    return CheckOutcome(
        name=name,
        null=NULL,
        statistic=seen if math.isfinite(seen) else None,
        p_value=result.p_value,
        alpha=alpha,
        effect=effect,
        ci=ci,
        unit=UNIT,
        n=reach.runs,
        verdict=verdict_of(result.p_value, alpha, blind=result.resolution > alpha or reach.is_blind),
        minimum_detectable_effect=reach.smallest if math.isfinite(reach.smallest) else None,
        effect_of_interest=reach.interest,
        samples_needed=reach.needed,
        likely_causes=LIKELY_CAUSES,
        p_resolution=result.resolution,
        reason=reach.reason,
    )


def _nothing_to_compare(name: str, runs: int, alpha: float, interest: float | None) -> CheckOutcome:
    """The outcome of fewer than 3 runs, or of scalars that are all equal."""
    return CheckOutcome(
        name, NULL, None, None, alpha, None, None, UNIT, runs, "inconclusive", None, interest,
        SMALLEST_RUNS if runs < SMALLEST_RUNS else None, LIKELY_CAUSES,
    )  # fmt: skip


def _require_fraction(name: str, fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise ValueError(f"{name}: sampling_fraction is {fraction}, it must lie in [0, 1]")


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
    effect_of_interest: float | None = None,
    power: float = 0.95,
    sampling_fraction: float = 0.0,
) -> CheckOutcome:
    """:func:`check_se_calibration`, raising as :func:`pytest_entropy.stats.require` does."""
    __tracebackhide__ = True
    return require(
        check_se_calibration(
            per_prompt, delta, se, scale=scale, alpha=alpha, rng=rng, name=name,
            effect_of_interest=effect_of_interest, power=power, sampling_fraction=sampling_fraction,
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
        ratio: np.ndarray = np.log(delta.var(axis=1, ddof=1)) - np.log(variances.mean(axis=1))
    return ratio


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
