"""Are p-values of many correct sessions uniform?  Kolmogorov and Smirnov's test, with its exact distribution.

``side="too_small"`` tests P(p <= x) <= x, all that a level promises: the distribution of D+ = max(F_n(x) - x) is exact
for uniform p-values, and discrete or conservative ones (permutation tests, a guarded test) only make D+ smaller, so the
level holds for them too.  ``side="both"`` also rejects p-values that are too large.  A permutation p-value from N
shuffles then needs ``resolution`` = 2 / (N + 1), the step of its grid: F_n may lag x by that much, and D- is reduced by
it before it is judged.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from pytest_entropy.stats.guarded_t import smallest_n
from pytest_entropy.stats.outcome import CheckOutcome, asserting, is_blind, require_rates, verdict_of

UNIT = "largest excess of P(p <= x) over x"
Side = Literal["too_small", "both"]


def check_uniform_p_values(
    p_values: ArrayLike,
    *,
    alpha: float,
    name: str = "uniform_p_values",
    null: str = "p-values of correct sessions are no smaller than uniform",
    likely_causes: str = "a test that rejects too often, or sessions that are not independent",
    side: Side = "too_small",
    resolution: float = 0.0,
    effect_of_interest: float | None = None,
    power: float = 0.95,
) -> CheckOutcome:
    """Kolmogorov-Smirnov test on independent p-values, exact at every n.

    Inconclusive with no p-values, or where n cannot detect ``effect_of_interest``.

    Args:
        p_values: ``[n]`` in [0, 1].
        alpha, power: false-alarm rate, and chance of detecting ``effect_of_interest``, both in (0, 1).
        name, null, likely_causes: as in :class:`CheckOutcome`.
        side: ``too_small`` tests P(p <= x) <= x, ``both`` also rejects p-values that are too large (module docstring).
        resolution: the step of the grid that permutation p-values lie on.
        effect_of_interest: a gap between the two distribution functions, in (0, 1).

    Returns:
        The outcome; its effect is D+ (or the larger of D+ and D-), the largest gap between the share of p-values below
        x and x itself.

    Raises:
        ValueError: a p-value outside [0, 1], a negative resolution, alpha or power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    sorted_p = _sorted_p_values(name, p_values, resolution)
    n = len(sorted_p)
    if n == 0:
        return CheckOutcome(
            name, null, None, None, alpha, None, None, UNIT, 0, "inconclusive", None, effect_of_interest, 1,
            likely_causes,
        )  # fmt: skip
    gap, p = _largest_gap(sorted_p, side, resolution)
    smallest = min_discrepancy_uniform_p_values(n, alpha=alpha, power=power, side=side)
    blind = is_blind(smallest, effect_of_interest)
    needed = None
    if blind and effect_of_interest is not None:
        needed = min_num_samples_uniform_p_values(effect_of_interest, alpha=alpha, power=power, side=side)
    band = _critical(0.05, n, side)
    return CheckOutcome(
        name, null, gap, p, alpha, gap, (max(0.0, gap - band), min(1.0, gap + band)), UNIT, n,
        verdict_of(p, alpha, blind=blind), smallest, effect_of_interest, needed, likely_causes, resolution or None,
    )  # fmt: skip


def _sorted_p_values(name: str, p_values: ArrayLike, resolution: float) -> np.ndarray:
    p = np.sort(np.asarray(p_values, dtype=float).ravel())
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"{name}: p-values must lie in [0, 1]")
    if not resolution >= 0:
        raise ValueError(f"{name}: the resolution is {resolution}, it must not be negative")
    return p


def _largest_gap(p: np.ndarray, side: Side, resolution: float) -> tuple[float, float]:
    """(D+, or the larger of D+ and D-, of sorted p-values; the p-value of that gap)."""
    n = len(p)
    steps = np.arange(n + 1) / n
    above, below = float((steps[1:] - p).max()), float((p - steps[:-1]).max())
    gap = max(0.0, above if side == "too_small" else max(above, below - resolution))
    return gap, float(scipy.stats.ksone.sf(gap, n) if side == "too_small" else scipy.stats.kstwo.sf(gap, n))


assert_uniform_p_values = asserting(check_uniform_p_values)


@lru_cache(maxsize=256)
def _critical(alpha: float, n: int, side: Side) -> float:
    """The smallest gap between the distribution functions that rejects at ``alpha``."""
    law = scipy.stats.ksone if side == "too_small" else scipy.stats.kstwo
    return float(scipy.optimize.brentq(lambda d: law.sf(d, n) - alpha, 0.0, 1.0, xtol=1e-12))


def min_discrepancy_uniform_p_values(n: int, *, alpha: float, power: float = 0.95, side: Side = "too_small") -> float:
    """The smallest true gap sup(P(p <= x) - x) that n p-values detect; a value above 1 means that they detect none.

    Worst case over where the gap is: the empirical share at that x has a spread of at most 1 / (2 sqrt(n)).

    Args:
        n: the number of p-values.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).
        side: as in :func:`check_uniform_p_values`.

    Raises:
        ValueError: n < 1, alpha or power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    if n < 1:
        raise ValueError(f"n is {n}, it must be at least 1")
    return _critical(alpha, n, side) + max(0.0, float(scipy.stats.norm.ppf(power))) / (2 * math.sqrt(n))


def min_num_samples_uniform_p_values(
    effect: float, *, alpha: float, power: float = 0.95, side: Side = "too_small"
) -> int:
    """The smallest number of p-values that detect a gap of ``effect``.

    Inverts :func:`min_discrepancy_uniform_p_values`.

    Args:
        effect: a gap between the two distribution functions, in (0, 1).
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).
        side: as in :func:`check_uniform_p_values`.

    Raises:
        ValueError: the effect lies outside (0, 1).
    """
    if not 0 < effect < 1:
        raise ValueError(f"effect is {effect}, a gap between two distribution functions lies between 0 and 1")
    return smallest_n(
        lambda n: min_discrepancy_uniform_p_values(n, alpha=alpha, power=power, side=side), effect, at_least=1
    )
