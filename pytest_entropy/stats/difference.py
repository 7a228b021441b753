"""Do paired measurements of the same prompts differ, and are they equivalent within a margin?  For regression gates.

Both tests work on paired differences x - y, computed from the same seeds, with the guarded t of ``guarded_t.py``, which
keeps its level on heavy tails.  An interval on the difference decides, never the difference's absolute size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pytest_entropy.stats.guarded_t import (
    SMALLEST_N,
    Shape,
    interval,
    moments,
    needed_mean,
    p_values_mean_zero,
    smallest_n,
)
from pytest_entropy.stats.intervals import FEWEST_PROMPTS
from pytest_entropy.stats.mean import check_mean_zero, min_discrepancy_mean_zero, min_num_samples_mean_zero
from pytest_entropy.stats.outcome import CheckOutcome, Verdict, asserting, require_rates


def paired_difference(name: str, x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """The differences x - y ``[n]``, in the unit of the data.

    >>> paired_difference("drift", [1.0, 2.0], [0.5, 2.0]).tolist()
    [0.5, 0.0]

    Args:
        name: the check's, for error messages.
        x, y: observations ``[n]``, paired by seed.

    Raises:
        ValueError: the lengths differ, or an observation is not finite.
    """
    first, second = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    if first.shape != second.shape:
        raise ValueError(f"{name}: {first.size} observations against {second.size}; they must be paired by seed")
    bad = int((~np.isfinite(first)).sum() + (~np.isfinite(second)).sum())
    if bad:
        raise ValueError(f"{name}: {bad} of {2 * first.size} observations are not finite")
    difference: np.ndarray = first - second
    return difference


def check_mean_difference(
    x: ArrayLike,
    y: ArrayLike,
    *,
    alpha: float,
    name: str,
    null: str,
    unit: str,
    likely_causes: str,
    effect_of_interest: float | None = None,
    power: float = 0.95,
) -> CheckOutcome:
    """Two-sided test that paired observations x and y have the same mean; the effect is the mean of x - y.

    It is :func:`check_mean_zero` on the differences, except that two identical samples pass: they are equal.

    Args:
        x, y: observations ``[n]`` in ``unit``, paired by seed.
        alpha, power: false-alarm rate, and chance of detecting ``effect_of_interest``, both in (0, 1).
        name, null, unit, likely_causes: as in :class:`CheckOutcome`.
        effect_of_interest: a mean difference, in ``unit``; None never makes the outcome inconclusive.

    Raises:
        ValueError: the lengths differ, an observation is not finite, alpha or power lies outside (0, 1).
    """
    difference = paired_difference(name, x, y)
    outcome = check_mean_zero(
        difference, alpha=alpha, name=name, null=null, unit=unit, likely_causes=likely_causes,
        effect_of_interest=effect_of_interest, power=power,
    )  # fmt: skip
    return outcome if difference.any() or len(difference) < SMALLEST_N else _identical(outcome)


def _identical(outcome: CheckOutcome) -> CheckOutcome:
    return replace(outcome, p_value=1.0, ci=(0.0, 0.0), verdict="pass")


assert_mean_difference = asserting(check_mean_difference)


def min_discrepancy_mean_difference(x_or_sd: ArrayLike, n: int, *, alpha: float, power: float = 0.95) -> float:
    """The smallest mean difference, in the unit of the data, that n pairs detect.

    Args:
        x_or_sd: the standard deviation of the differences, or a sample ``[m]`` of the differences (not of x).
        n: the number of pairs.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).
    """
    return min_discrepancy_mean_zero(x_or_sd, n, alpha=alpha, power=power)


def min_num_samples_mean_difference(x_or_sd: ArrayLike, effect: float, *, alpha: float, power: float = 0.95) -> int:
    """The smallest number of pairs that detect a mean difference of ``effect``.

    Inverts :func:`min_discrepancy_mean_difference`.

    Args:
        x_or_sd: the standard deviation of the differences, or a sample ``[m]`` of the differences (not of x).
        effect: a mean difference, in the unit of the data.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).
    """
    return min_num_samples_mean_zero(x_or_sd, effect, alpha=alpha, power=power)


def check_equivalent(
    x: ArrayLike,
    y: ArrayLike,
    *,
    margin: float,
    alpha: float,
    beta: float = 0.05,
    name: str,
    null: str,
    unit: str,
    likely_causes: str,
) -> CheckOutcome:
    """Is the mean paired difference of x and y within ``margin``?  By two one-sided tests (Schuirmann 1987).

    - fail: the interval at 1 - ``alpha`` lies wholly outside +-margin.  If the true difference is within the
      margin, that happens with probability at most ``alpha``.
    - pass: the interval at 1 - ``beta`` lies wholly inside +-margin (the two-sided interval is used, since on skewed
      data one side may use up the whole error).  If the true difference is at or beyond the margin, that happens with
      probability at most ``beta``.
    - inconclusive: neither; ``samples_needed`` says at which n a true difference of 0 would pass.

    The p-value is that of the nearest mean within the margin.  Differences that are all equal are compared with the
    margin as they are, without a test.

    Args:
        x, y: observations ``[n]`` in ``unit``, paired by seed.
        margin: the largest difference that is tolerated, in ``unit``.
        alpha, beta: the chances of a wrong fail and of a wrong pass, both in (0, 1).
        name, null, unit, likely_causes: as in :class:`CheckOutcome`.

    Raises:
        ValueError: the lengths differ, there are fewer than 2 pairs, an observation is not finite, the margin is not
            positive, alpha or beta lies outside (0, 1).
    """
    require_rates(alpha=alpha, beta=beta)
    _require_margin(margin)
    difference = paired_difference(name, x, y)
    n = len(difference)
    if n < SMALLEST_N:
        raise ValueError(f"{name}: {n} pairs, an interval needs at least {SMALLEST_N}")
    judged = _constant(difference, margin) if np.ptp(difference) == 0 else _spread(difference, margin, alpha, beta)
    return CheckOutcome(
        name, f"{null}, to {margin:g} {unit}", judged.statistic, judged.p_value, alpha, judged.mean, judged.ci, unit, n,
        judged.verdict, judged.smallest, margin, judged.needed, likely_causes,
    )  # fmt: skip


@dataclass(frozen=True)
class _Equivalence:
    """A mean difference judged against the margin."""

    mean: float
    statistic: float | None
    p_value: float
    ci: tuple[float, float] | None
    verdict: Verdict
    smallest: float | None = None
    needed: int | None = None


def _constant(difference: np.ndarray, margin: float) -> _Equivalence:
    mean, se, _, _ = (float(m[0]) for m in moments(difference[None]))
    outside = abs(mean) > margin
    statistic = mean / se if se > 0 else None
    return _Equivalence(mean, statistic, float(not outside), (mean, mean), "fail" if outside else "pass")


def _spread(difference: np.ndarray, margin: float, alpha: float, beta: float) -> _Equivalence:
    n = len(difference)
    mean, se, _, skew = (float(m[0]) for m in moments(difference[None]))
    outside = math.copysign(max(0.0, abs(mean) - margin), mean)
    p = 1.0 if outside == 0 else float(p_values_mean_zero(difference - mean + outside)[0])
    ci = interval(mean, se, skew, n, confidence=1 - beta)
    inside = -margin < ci[0] and ci[1] < margin
    verdict: Verdict = "fail" if p < alpha else "pass" if inside else "inconclusive"
    smallest = min_discrepancy_equivalent(difference, n, beta=beta)
    needed = None
    if verdict == "inconclusive":
        needed = max(n, min_num_samples_equivalent(difference, margin, beta=beta))
    shown = ci if n >= FEWEST_PROMPTS else None
    return _Equivalence(mean, mean / se if se > 0 else None, p, shown, verdict, smallest, needed)


assert_equivalent = asserting(check_equivalent)


def min_discrepancy_equivalent(x_or_sd: ArrayLike, n: int, *, beta: float = 0.05, power: float = 0.95) -> float:
    """The smallest margin within which n pairs of equal mean are found equivalent, in the unit of the data.

    Args:
        x_or_sd: the standard deviation of the differences, or a sample ``[m]`` of the differences.
        n: the number of pairs.
        beta: the chance of a wrong pass, in (0, 1).
        power: the chance that pairs of equal mean pass, in (0, 1).
    """
    require_rates(beta=beta, power=power)
    # The interval must lie inside the margin on both sides; each side may fail with half of 1 - power.
    return needed_mean(Shape.of(x_or_sd), n, beta, (1 + power) / 2)


def min_num_samples_equivalent(x_or_sd: ArrayLike, margin: float, *, beta: float = 0.05, power: float = 0.95) -> int:
    """The smallest number of pairs of equal mean that are found equivalent within ``margin``.

    Inverts :func:`min_discrepancy_equivalent`.

    Args:
        x_or_sd: the standard deviation of the differences, or a sample ``[m]`` of the differences.
        margin: the largest difference that is tolerated, in the unit of the data.
        beta: the chance of a wrong pass, in (0, 1).
        power: the chance that pairs of equal mean pass, in (0, 1).
    """
    _require_margin(margin)
    require_rates(beta=beta, power=power)
    shape = Shape.of(x_or_sd)
    return smallest_n(lambda n: needed_mean(shape, n, beta, (1 + power) / 2), margin, at_least=SMALLEST_N)


def _require_margin(margin: float) -> None:
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin is {margin}, it must be positive and finite")
