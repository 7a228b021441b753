"""Is the mean of independent, skewed, heavy-tailed numbers zero?  Student's t, guarded (see ``guarded_t.py``)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from pytest_entropy.stats.guarded_t import (
    MOST_N,
    SMALLEST_N,
    Shape,
    interval,
    moments,
    needed_mean,
    p_values_mean_zero,
    smallest_n,
)
from pytest_entropy.stats.outcome import CheckOutcome, Verdict, require, require_rates

# Independent events that have to be expected for their mean to be judged, or one for so many observations, whichever is
# less: measured in docs/statistics.md.
FEWEST_EVENTS, OBSERVATIONS_PER_EVENT = 100, 2


def min_discrepancy_mean_zero(x_or_sd: ArrayLike, n: int, *, alpha: float, power: float = 0.95) -> float:
    """The smallest mean, in the unit of the data, that n observations reject with the given power.

    ``x_or_sd`` is a standard deviation, for normal data, or a sample whose shape is used; then the answer is for
    the sign that is harder to see.

    Raises:
        ValueError: n < 2, a standard deviation that is not positive, alpha or power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    return needed_mean(Shape.of(x_or_sd), n, alpha, power)


def min_num_samples_mean_zero(x_or_sd: ArrayLike, effect: float, *, alpha: float, power: float = 0.95) -> int:
    """The smallest n at which a mean of ``effect`` is rejected with the given power (at most 1e15).

    Inverts :func:`min_discrepancy_mean_zero`.

    Raises:
        ValueError: an effect of zero, and as there.
    """
    require_rates(alpha=alpha, power=power)
    if not (abs(effect) > 0 and math.isfinite(effect)):
        raise ValueError(f"effect is {effect}, it must be finite and not zero")
    shape = Shape.of(x_or_sd)
    return smallest_n(lambda n: needed_mean(shape, n, alpha, power), abs(effect), at_least=SMALLEST_N)


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
    expected_events: float | None = None,
) -> CheckOutcome:
    """Two-sided test of mean zero on independent observations ``[n]``; guarded_t.py says how.

    The 95 % interval inverts the same test, and holds the mean at least that often on skewed data.
    Inconclusive where n < 2 or all are zero (nothing moved, so nothing was tested), or where
    ``declared_effect`` is smaller than what n can see; constants other than zero fail with p = 0.

    Where the mean is zero only because of events (a sampled token that is not the likeliest one), of which
    ``expected_events`` independent ones are to be expected in these observations, it is inconclusive below
    ``FEWEST_EVENTS`` of them and below one for ``OBSERVATIONS_PER_EVENT`` observations: a sample without the event that
    balances the others has a mean far from zero and hardly any spread, so no test of the mean keeps its level.

    Raises:
        ValueError: an observation is not finite, or alpha or power lie outside (0, 1).
    """
    values = np.asarray(x, dtype=float).ravel()
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} of {values.size} observations are not finite")
    n = len(values)
    require_rates(alpha=alpha, power=power)
    mean = t = p = smallest = ci = needed = None
    verdict: Verdict = "inconclusive"
    if n >= SMALLEST_N and np.ptp(values) > 0:
        mean, se, t, skew = (float(m[0]) for m in moments(values[None]))
        p = float(p_values_mean_zero(values)[0])
        ci = interval(mean, se, skew, n, confidence=0.95)
        smallest = needed_mean(Shape.of(values), n, alpha, power)
        too_small = declared_effect is not None and smallest > abs(declared_effect)
        verdict = "fail" if p < alpha else "inconclusive" if too_small else "pass"
        if too_small and declared_effect is not None:
            needed = min_num_samples_mean_zero(values, declared_effect, alpha=alpha, power=power)
    elif n:
        mean = float(values[0])
        if n >= SMALLEST_N and mean != 0:
            p, verdict = 0.0, "fail"
    reason = ""
    if expected_events is not None and too_few_events(expected_events, n):
        verdict, reason = "inconclusive", few_events(expected_events)
        enough = n * FEWEST_EVENTS / expected_events if expected_events > 0 else math.inf
        # Both have to be met: the events, and the observations that see the declared effect.
        asked = [enough] if needed is None else [enough, needed]
        needed = math.ceil(max(asked)) if enough < MOST_N else None
    return CheckOutcome(
        name, null, t, p, alpha, mean, ci, unit, n, verdict, smallest, declared_effect, needed, points_to, reason=reason
    )


def too_few_events(expected: float, n: int) -> bool:
    """Whether so few events are to be expected among n observations that their mean is not to be judged."""
    return expected < min(FEWEST_EVENTS, n / OBSERVATIONS_PER_EVENT)


def few_events(expected: float) -> str:
    """Why a mean that rare events carry is not judged."""
    return (
        f"only {expected:.2g} responses are expected to hold a token other than the likeliest one (the policy has all "
        f"but collapsed); with fewer than {FEWEST_EVENTS} the mean over sampled tokens says nothing"
    )


def assert_mean_zero(
    x: ArrayLike,
    *,
    alpha: float,
    name: str,
    null: str,
    unit: str,
    points_to: str,
    declared_effect: float | None = None,
    power: float = 0.95,
    expected_events: float | None = None,
) -> CheckOutcome:
    """:func:`check_mean_zero`, raising as :func:`pytest_entropy.stats.require` does."""
    __tracebackhide__ = True
    return require(
        check_mean_zero(
            x, alpha=alpha, name=name, null=null, unit=unit, points_to=points_to,
            declared_effect=declared_effect, power=power, expected_events=expected_events,
        )
    )  # fmt: skip
