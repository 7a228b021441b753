"""Does the standard error shrink as B_E^(-1/2)?  The slope of log SE on log B_E (docs/mathematics.md §6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike

from pytest_entropy.stats.guarded_t import smallest_n
from pytest_entropy.stats.outcome import (
    CheckOutcome,
    detectable_in_errors,
    is_blind,
    require,
    require_rates,
    verdict_of,
)
from pytest_entropy.stats.permutation import PermutationResult, permutation_test, run_moments, unit_spread
from pytest_entropy.stats.scaling import RunScalars

NULL = "the standard error shrinks as B_E to the power -1/2"
LIKELY_CAUSES = "a standard error that is not of the mean: missing or doubled division by B_E, or dependent prompts"
UNIT = "slope of log SE on log B_E, plus 1/2"


def check_se_slope(
    runs: Sequence[RunScalars],
    *,
    alpha: float,
    rng: np.random.Generator,
    effect_of_interest: float | None = 1.0,
    power: float = 0.95,
    shuffles: int | None = None,
) -> CheckOutcome:
    """Test that log SE on log B_E has slope -1/2; the null distribution comes from shuffling scalars over the runs.

    Exact under exchangeable prompts, whatever their tails.  Inconclusive with one B_E, with a run of equal scalars,
    with too few arrangements or ``shuffles`` to reject at ``alpha``, or where the runs cannot detect
    ``effect_of_interest``.

    Args:
        runs: scalars ``[B_E]`` of each, and the standard error it reported, or else that of the mean of s.
        alpha, power: false-alarm rate, and chance of detecting ``effect_of_interest``, both in (0, 1).
        rng: source of the shuffles.
        effect_of_interest: a distance of the slope: one division by B_E too many or too few moves it by 1, one by its
            root by 1/2.
        shuffles: the most shuffles; by ``alpha`` if left out.

    Returns:
        The outcome; its effect is the slope's distance from its median under the null hypothesis.

    Raises:
        ValueError: no runs, a scalar or standard error is not finite, an SE is not positive though the scalars
            differ, alpha or power lies outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    values, reported = _validated(runs)
    sizes = np.array([len(v) for v in values])
    if len(set(sizes.tolist())) < 2 or any(np.ptp(v) == 0 for v in values):
        return CheckOutcome(
            "se_slope", NULL, None, None, alpha, None, None, UNIT, len(runs), "inconclusive", None, effect_of_interest,
            None, LIKELY_CAUSES,
        )  # fmt: skip
    slope, result = _against_shuffles(values, reported, sizes, rng, alpha, shuffles)
    middle = float(np.median(result.shuffled))
    smallest = detectable_in_errors(alpha, power) * float(result.shuffled.std())
    blind = is_blind(smallest, effect_of_interest)
    needed = None
    if blind and effect_of_interest is not None:
        needed = math.ceil(len(runs) * (smallest / effect_of_interest) ** 2)
    verdict = verdict_of(result.p_value, alpha, blind=result.resolution > alpha or blind)
    return CheckOutcome(
        "se_slope", NULL, slope, result.p_value, alpha, slope - middle, result.interval(slope), UNIT, len(runs),
        verdict, smallest, effect_of_interest, needed, LIKELY_CAUSES, result.resolution,
    )  # fmt: skip


def _against_shuffles(
    values: list[np.ndarray],
    reported: np.ndarray,
    sizes: np.ndarray,
    rng: np.random.Generator,
    alpha: float,
    shuffles: int | None,
) -> tuple[float, PermutationResult]:
    """The slope of the reported standard errors, and its permutation test."""
    x = np.log(sizes) - np.log(sizes).mean()

    def statistic(table: np.ndarray) -> np.ndarray:
        # A shuffle may leave a run of equal scalars; its slope is then as extreme as floats allow.
        slope: np.ndarray = 0.5 * np.log(np.maximum(run_moments(table, sizes)[1], 1e-300)) @ x / (x @ x)
        return slope

    centred, _ = unit_spread(np.concatenate(values))
    slope = float(np.log(reported) @ x / (x @ x))
    return slope, permutation_test(slope, centred, statistic, sizes=sizes, rng=rng, alpha=alpha, shuffles=shuffles)


def _validated(runs: Sequence[RunScalars]) -> tuple[list[np.ndarray], np.ndarray]:
    """Scaled scalars ``[B_E]`` of each run, and the standard errors ``[R]``."""
    if not runs:
        raise ValueError("se_slope: no runs")
    values = [r.scale * np.asarray(r.s, dtype=float) for r in runs]
    computed = [v.std(ddof=1) / math.sqrt(len(v)) for v in values]
    reported = np.array([e if r.se is None else r.se for r, e in zip(runs, computed, strict=True)])
    if not (all(np.isfinite(v).all() for v in values) and np.isfinite(reported).all()):
        raise ValueError("se_slope: a scalar or a standard error is not finite")
    if any(e <= 0 < np.ptp(v) for e, v in zip(reported, values, strict=True)):
        raise ValueError("se_slope: a standard error is not positive though the scalars differ")
    return values, reported


def assert_se_slope(
    runs: Sequence[RunScalars],
    *,
    alpha: float,
    rng: np.random.Generator,
    effect_of_interest: float | None = 1.0,
    power: float = 0.95,
) -> CheckOutcome:
    """Run :func:`check_se_slope` and raise unless the outcome is a pass.

    Args: those of :func:`check_se_slope`.

    Raises:
        StatisticalFailure: the slope is not -1/2.
        Inconclusive: the runs cannot decide.
    """
    __tracebackhide__ = True
    return require(check_se_slope(runs, alpha=alpha, rng=rng, effect_of_interest=effect_of_interest, power=power))


def min_discrepancy_se_slope(
    batch_sizes: Sequence[int], *, alpha: float, power: float = 0.95, scalars: ArrayLike | None = None
) -> float:
    """The smallest distance of the slope from -1/2 that runs of these sizes detect.

    Args:
        batch_sizes: B_E of each run, one entry per run.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).
        scalars: a sample of s_n, whose resamples (always the same) give the spread of log SE at each B_E; normal
            scalars are assumed without it.

    Raises:
        ValueError: fewer than two distinct B_E, a B_E below 2, scalars that are all equal or not finite, alpha or
            power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    sizes = np.array(batch_sizes, dtype=int)
    if len(set(sizes.tolist())) < 2 or not (sizes >= 2).all():
        raise ValueError(f"batch_sizes are {list(batch_sizes)}: a slope needs at least two distinct B_E, all above 1")
    spread = {size: _spread_of_log_se(size, scalars) for size in set(sizes.tolist())}
    x = np.log(sizes) - np.log(sizes).mean()
    deviation = math.sqrt(sum((xi * spread[int(size)]) ** 2 for xi, size in zip(x, sizes, strict=True)))
    return deviation / float(x @ x) * detectable_in_errors(alpha, power)


def _spread_of_log_se(size: int, scalars: ArrayLike | None) -> float:
    """Standard deviation of log SE over runs of ``size`` scalars."""
    if scalars is None:
        # log of a chi-square variable with size - 1 degrees of freedom, halved
        return float(np.sqrt(scipy.special.polygamma(1, (size - 1) / 2))) / 2
    x = np.asarray(scalars, dtype=float).ravel()
    if not np.isfinite(x).all() or not len(x) or np.ptp(x) == 0:
        raise ValueError("scalars must be finite numbers, not all equal")
    rng = np.random.default_rng(0)
    variances = np.concatenate([unit_spread(x)[0][rng.integers(0, len(x), (500, size))].var(axis=1) for _ in range(4)])
    return float(np.log(variances[variances > 0]).std()) / 2


def min_num_samples_se_slope(
    batch_sizes: Sequence[int],
    effect: float,
    *,
    alpha: float,
    power: float = 0.95,
    scalars: ArrayLike | None = None,
) -> int:
    """The number of runs at each B_E that detect a slope off by ``effect``.

    Inverts :func:`min_discrepancy_se_slope`.

    Args:
        batch_sizes: the distinct B_E.
        effect: a distance of the slope from -1/2.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).
        scalars: a sample of s_n; normal scalars are assumed without it.

    Raises:
        ValueError: the effect is 0 or not finite.
    """
    if not (abs(effect) > 0 and math.isfinite(effect)):
        raise ValueError(f"effect is {effect}, it must be finite and not zero")
    one_each = min_discrepancy_se_slope(batch_sizes, alpha=alpha, power=power, scalars=scalars)
    return smallest_n(lambda runs: one_each / math.sqrt(runs), abs(effect), at_least=1)
