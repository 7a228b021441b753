"""Is the mean of independent, skewed, heavy-tailed numbers zero?

The statistic is Student's t; its p-value is Hall's (1992, J. R. Statist. Soc. B 54, 221) skewness-corrected
one and the plain one, whichever is larger.  Per-prompt scalars have kurtosis 20 to 50, and with a few dozen
prompts the plain t-test is anticonservative on the side of the long tail; levels are measured in
docs/statistics.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pytest_entropy.stats.outcome import CheckOutcome, Verdict

SMALLEST_N = 2


def skew_corrected_p(x: np.ndarray) -> tuple[float, float]:
    """(t statistic, two-sided p): the larger of plain t's and the cubic transformation's."""
    n = len(x)
    sd = x.std(ddof=1)
    t = float(x.mean() / (sd / math.sqrt(n)))
    plain = 2 * stats.t.sf(abs(t), n - 1)
    skew = float(np.mean(((x - x.mean()) / x.std()) ** 3))
    # Hall's monotone cubic in u = t / sqrt(n), which removes skewness to order 1/n.
    u = t / math.sqrt(n)
    g = u + skew * u**2 / 3 + skew**2 * u**3 / 27 + skew / (6 * n)
    corrected = 2 * stats.t.sf(abs(math.sqrt(n) * g), n - 1)
    return t, float(min(1.0, max(plain, corrected)))


def min_discrepancy_mean_zero(sd: float, n: int, *, alpha: float, power: float = 0.95) -> float:
    """The smallest mean that n observations of this spread reject with the given power (normal theory)."""
    _positive(sd=sd, n=n)
    return sd / math.sqrt(n) * (stats.norm.isf(alpha / 2) + stats.norm.ppf(power))


def min_num_samples_mean_zero(sd: float, effect: float, *, alpha: float, power: float = 0.95) -> int:
    """The n at which a mean of ``effect`` is rejected with the given power; inverts the function above."""
    _positive(sd=sd, effect=abs(effect))
    return math.ceil((sd / abs(effect) * (stats.norm.isf(alpha / 2) + stats.norm.ppf(power))) ** 2 - 1e-9)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}, it must be positive")


def check_mean_zero(
    x: ArrayLike,
    *,
    alpha: float,
    name: str,
    null: str,
    unit: str,
    points_to: str,
    declared_effect: float | None = None,
    power: float = 0.95,
) -> CheckOutcome:
    """One-sample test of mean zero; independent observations ``[n]``.

    Inconclusive where n < 2 or all are zero, or where ``declared_effect`` is smaller than what n can see.

    Raises:
        ValueError: an observation is not finite.
    """
    values = np.asarray(x, dtype=float).ravel()
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} of {values.size} observations are not finite")
    n = len(values)
    sd = float(values.std(ddof=1)) if n >= SMALLEST_N else 0.0
    mean = float(values.mean()) if n else None
    t = p = smallest = ci = needed = None
    verdict: Verdict = "inconclusive"
    if sd > 0 and mean is not None:
        t, p = skew_corrected_p(values)
        half = float(stats.t.isf(0.025, n - 1)) * sd / math.sqrt(n)
        ci = (mean - half, mean + half)
        smallest = min_discrepancy_mean_zero(sd, n, alpha=alpha, power=power)
        too_small = declared_effect is not None and smallest > abs(declared_effect)
        verdict = "fail" if p < alpha else "inconclusive" if too_small else "pass"
        if too_small and declared_effect is not None:
            needed = min_num_samples_mean_zero(sd, declared_effect, alpha=alpha, power=power)
    elif n >= SMALLEST_N and mean:
        p, verdict = 0.0, "fail"
    return CheckOutcome(
        name, null, t, p, alpha, mean, ci, unit, n, verdict, smallest, declared_effect, needed, points_to
    )


def assert_mean_zero(x: ArrayLike, **settings: object) -> CheckOutcome:
    """:func:`check_mean_zero`, raising as :func:`pytest_entropy.stats.require` does."""
    from pytest_entropy.stats.outcome import require

    return require(check_mean_zero(x, **settings))  # type: ignore[arg-type]
