"""The surprisal identity as a test of ranks: randomised ranks of sampled tokens are iid uniform under the null.

Two independent tests on normal scores z = Phi^-1(u), with p = 1 - (1 - min)^2.  Location: c = sum w z / sqrt(sum w^2)
is standard normal (Stouffer).  Spread: sum z^2 - c^2, the squared length of z across the weights, is chi-square with
n - 1 degrees of freedom and independent of c; it detects truncated tails and other temperatures.  So p is uniform under
the null hypothesis (docs/mathematics.md §8).

Exact where n and the weights are fixed beforehand.  Where they depend on earlier tokens of the same response (later
weights, the length at which it ends) both sums are martingales over responses and the level is asymptotic in the number
of responses; docs/statistics.md measures it with strong dependence.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import ArrayLike

from pytest_entropy.stats.intervals import two_sided_quantile
from pytest_entropy.stats.outcome import (
    CheckOutcome,
    asserting,
    detectable_in_errors,
    is_blind,
    require_rates,
    verdict_of,
)


def check_uniform_pit(
    u: ArrayLike,
    weights: ArrayLike,
    *,
    alpha: float,
    name: str,
    null: str,
    unit: str,
    likely_causes: str,
    effect_of_interest: float | None = None,
    power: float = 0.95,
) -> CheckOutcome:
    """Test that the ranks of sampled tokens are uniform; two independent tests, of which the smaller p counts.

    Tokens of weight 0 are left out; with fewer than 2 others the result is inconclusive.

    Args:
        u: ranks ``[n]`` in [0, 1].
        weights: ``[n]``, not negative, fixed before the token is drawn (the spread of its surprisal, say).
        alpha, power: false-alarm rate, and chance of detecting ``effect_of_interest``, both in (0, 1).
        name, null, unit, likely_causes: as in :class:`CheckOutcome`.
        effect_of_interest: a weighted mean shift of the normal scores.

    Returns:
        The outcome; its effect is the weighted mean of the normal scores, 0 under the null hypothesis.

    Raises:
        ValueError: the lengths differ, a rank lies outside [0, 1], a weight is negative or not finite, alpha or power
            lies outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    ranks, w = _weighted_tokens(name, u, weights)
    n = len(w)
    if n < 2:
        return CheckOutcome(
            name, null, None, None, alpha, None, None, unit, n, "inconclusive", None, effect_of_interest, None,
            likely_causes,
        )  # fmt: skip
    location, p, effect, se = _two_tests(ranks, w)
    # Exactly normal under the null hypothesis, with a known standard error.
    reach = two_sided_quantile(0.95) * se
    smallest = min_discrepancy_uniform_pit(w, alpha=alpha, power=power)
    blind = is_blind(smallest, effect_of_interest)
    needed = None
    if blind and effect_of_interest is not None:
        needed = min_num_samples_uniform_pit(w, effect_of_interest, alpha=alpha, power=power)
    return CheckOutcome(
        name, null, location, p, alpha, effect, (effect - reach, effect + reach), unit, n,
        verdict_of(p, alpha, blind=blind), smallest, effect_of_interest, needed, likely_causes,
    )  # fmt: skip


def _weighted_tokens(name: str, u: ArrayLike, weights: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Ranks and weights of the tokens with a positive weight; the largest weight is 1, so that no square overflows."""
    ranks, w = np.asarray(u, dtype=float).ravel(), np.asarray(weights, dtype=float).ravel()
    if ranks.shape != w.shape:
        raise ValueError(f"{name}: {ranks.size} ranks but {w.size} weights")
    if not ((ranks >= 0) & (ranks <= 1)).all():
        raise ValueError(f"{name}: ranks must lie in [0, 1]")
    if not ((w >= 0) & np.isfinite(w)).all():
        raise ValueError(f"{name}: weights must be finite and not negative")
    weighted = w > 0
    # Only ratios of weights matter.
    return ranks[weighted], w[weighted] / w.max() if weighted.any() else w[weighted]


def _two_tests(ranks: np.ndarray, w: np.ndarray) -> tuple[float, float, float, float]:
    """(location, p-value of both tests together, weighted mean of the normal scores, its standard error)."""
    z = scipy.stats.norm.ppf(np.clip(ranks, 1e-12, 1 - 1e-12))
    norm = math.sqrt(float(np.square(w).sum()))
    location = float((w * z).sum()) / norm
    across = max(0.0, float(np.square(z).sum()) - location**2)
    p_location = 2 * scipy.stats.norm.sf(abs(location))
    p_spread = 2 * min(scipy.stats.chi2.sf(across, len(w) - 1), scipy.stats.chi2.cdf(across, len(w) - 1))
    smaller = float(min(p_location, p_spread))
    return location, smaller * (2 - smaller), float((w * z).sum() / w.sum()), norm / float(w.sum())


assert_uniform_pit = asserting(check_uniform_pit)


def _detectable_score(alpha: float, power: float) -> float:
    """The shift of a standard normal score that either test detects with ``power``."""
    require_rates(alpha=alpha, power=power)
    # Half of alpha goes to each of the two tests, half of that to each side.
    return detectable_in_errors(alpha / 2, power)


def _positive(weights: ArrayLike) -> np.ndarray:
    w = np.asarray(weights, dtype=float).ravel()
    if not (w >= 0).all() or not w.any() or not np.isfinite(w).all():
        raise ValueError("weights must be finite and not negative, and one of them positive")
    scaled: np.ndarray = w / w.max()
    return scaled


def min_discrepancy_uniform_pit(weights: ArrayLike, *, alpha: float, power: float = 0.95) -> float:
    """The smallest weighted mean shift of the normal scores that tokens with these weights detect.

    Args:
        weights: ``[n]``, not negative.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: a weight is negative or not finite, all are 0, alpha or power lies outside (0, 1).
    """
    w = _positive(weights)
    return _detectable_score(alpha, power) * math.sqrt(float(np.square(w).sum())) / float(w.sum())


def min_num_samples_uniform_pit(weights: ArrayLike, effect: float, *, alpha: float, power: float = 0.95) -> int:
    """The number of tokens, of weights distributed like these, that detect a shift of ``effect``.

    Inverts :func:`min_discrepancy_uniform_pit`.

    >>> min_num_samples_uniform_pit([1.0], 0.1, alpha=0.05)
    1511

    Args:
        weights: ``[n]``, not negative.
        effect: a weighted mean shift of the normal scores.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: the effect is 0 or not finite.
    """
    if not (abs(effect) > 0 and math.isfinite(effect)):
        raise ValueError(f"effect is {effect}, it must be finite and not zero")
    w = _positive(weights)
    dispersion = float(np.square(w).mean() / w.mean() ** 2)
    return max(1, math.ceil(dispersion * (_detectable_score(alpha, power) / abs(effect)) ** 2 - 1e-9))
