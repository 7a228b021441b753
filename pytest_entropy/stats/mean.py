"""Is the mean of independent, skewed, heavy-tailed numbers zero?  Student's t, guarded (see ``guarded_t.py``)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from pytest_entropy.stats.guarded_t import (
    MOST_N,
    SMALLEST_N,
    Shape,
    interval,
    moments,
    needed_mean,
    nominal,
    p_values_mean_zero,
    smallest_n,
)
from pytest_entropy.stats.intervals import FEWEST_PROMPTS
from pytest_entropy.stats.outcome import CheckOutcome, asserting, is_blind, require_rates, verdict_of

# A mean that rare events carry is judged from so many expected events, or from one per so many observations, whichever
# is less: measured in docs/statistics.md.
FEWEST_EVENTS, OBSERVATIONS_PER_EVENT = 100, 2


def min_discrepancy_mean_zero(x_or_sd: ArrayLike, n: int, *, alpha: float, power: float = 0.95) -> float:
    """The smallest mean, in the unit of the data, that n observations detect.

    Args:
        x_or_sd: a standard deviation, for normal data, or a sample ``[m]`` whose shape is used; then the answer is for
            the sign that is harder to detect.
        n: the number of observations.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: n < 2, a standard deviation that is not positive, alpha or power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    return needed_mean(Shape.of(x_or_sd), n, nominal(alpha, n), power)


def min_num_samples_mean_zero(x_or_sd: ArrayLike, effect: float, *, alpha: float, power: float = 0.95) -> int:
    """The smallest number of observations that detect a mean of ``effect`` (at most 1e15).

    Inverts :func:`min_discrepancy_mean_zero`.

    Args:
        x_or_sd: a standard deviation, for normal data, or a sample ``[m]`` whose shape is used.
        effect: a mean, in the unit of the data.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: the effect is 0 or not finite, the standard deviation is not positive, or alpha or power lies
            outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    if not (abs(effect) > 0 and math.isfinite(effect)):
        raise ValueError(f"effect is {effect}, it must be finite and not zero")
    shape = Shape.of(x_or_sd)
    return smallest_n(lambda n: needed_mean(shape, n, nominal(alpha, n), power), abs(effect), at_least=SMALLEST_N)


def check_mean_zero(
    x: ArrayLike,
    *,
    alpha: float,
    name: str,
    null: str,
    unit: str,
    likely_causes: str,
    effect_of_interest: float | None = None,
    power: float = 0.95,
    expected_events: float | None = None,
) -> CheckOutcome:
    """Two-sided test of mean zero on independent observations, by the guarded t (``guarded_t.py``).

    The 95 % interval inverts the same test (below 120 observations without the rise of small p-values): it holds the
    mean at least that often, measured in docs/statistics.md, and there is none for fewer than ``FEWEST_PROMPTS``
    observations.
    Inconclusive where n < 2 or all are zero (nothing moved, so nothing was tested), or where
    ``effect_of_interest`` is smaller than n can detect; equal observations other than zero fail with p = 0.

    Args:
        x: the observations ``[n]``, in ``unit``.
        alpha, power: false-alarm rate, and chance of detecting ``effect_of_interest``, both in (0, 1).
        name, null, unit, likely_causes: as in :class:`CheckOutcome`.
        effect_of_interest: a mean, in ``unit``; None never makes the outcome inconclusive.
        expected_events: how many independent events these observations are expected to hold, where the mean is zero
            only because of such events (a sampled token that is not the likeliest one).  Inconclusive below
            ``FEWEST_EVENTS`` of them and below one per ``OBSERVATIONS_PER_EVENT`` observations: a sample that lacks the
            event that balances the others has a mean far from zero and hardly any spread, so no test keeps its level.

    Raises:
        ValueError: an observation is not finite, or alpha or power lies outside (0, 1).
    """
    values = np.asarray(x, dtype=float).ravel()
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {int((~np.isfinite(values)).sum())} of {values.size} observations are not finite")
    require_rates(alpha=alpha, power=power)
    outcome = _tested(CheckOutcome(
        name, null, None, None, alpha, None, None, unit, len(values), "inconclusive", None, effect_of_interest, None,
        likely_causes,
    ), values, power)  # fmt: skip
    if expected_events is None or not too_few_events(expected_events, len(values)):
        return outcome
    return _undecided_by_events(outcome, expected_events)


def _tested(empty: CheckOutcome, values: np.ndarray, power: float) -> CheckOutcome:
    """Judge ``values`` by the guarded t: ``empty`` with the numbers and verdict of the test."""
    n, alpha, interest = len(values), empty.alpha, empty.effect_of_interest
    if n >= SMALLEST_N and np.ptp(values) > 0:
        mean, se, t, skew = (float(m[0]) for m in moments(values[None]))
        p = float(p_values_mean_zero(values)[0])
        ci = interval(mean, se, skew, n, confidence=0.95) if n >= FEWEST_PROMPTS else None
        smallest = needed_mean(Shape.of(values), n, nominal(alpha, n), power)
        blind = is_blind(smallest, interest)
        needed = None
        if blind and interest is not None:
            needed = min_num_samples_mean_zero(values, interest, alpha=alpha, power=power)
        return replace(
            empty, statistic=t, p_value=p, effect=mean, ci=ci,
            verdict=verdict_of(p, alpha, blind=blind), minimum_detectable_effect=smallest, samples_needed=needed,
        )  # fmt: skip
    if not n:
        return empty
    mean = float(values[0])
    if n >= SMALLEST_N and mean != 0:
        return replace(empty, effect=mean, p_value=0.0, verdict="fail")
    return replace(empty, effect=mean)


def _undecided_by_events(outcome: CheckOutcome, expected: float) -> CheckOutcome:
    """The outcome made inconclusive because too few rare events carry the mean, with the n at which they are enough."""
    enough = outcome.n * FEWEST_EVENTS / expected if expected > 0 else math.inf
    # Both have to be met: the events, and the observations that detect the effect of interest.
    conditions = [enough] if outcome.samples_needed is None else [enough, outcome.samples_needed]
    needed = math.ceil(max(conditions)) if enough < MOST_N else None
    return replace(outcome, verdict="inconclusive", reason=few_events(expected), samples_needed=needed)


def too_few_events(expected: float, n: int) -> bool:
    """Whether n observations are expected to hold too few rare events for their mean to be judged.

    Args:
        expected: the number of events that the observations are expected to hold.
        n: the number of observations.
    """
    return expected < min(FEWEST_EVENTS, n / OBSERVATIONS_PER_EVENT)


def few_events(expected: float) -> str:
    """The reason, in words, why a mean that rare events carry is not judged."""
    return (
        f"only {expected:.2g} responses are expected to hold a token other than the likeliest one (the policy has all "
        f"but collapsed); with fewer than {FEWEST_EVENTS} the mean over sampled tokens says nothing"
    )


assert_mean_zero = asserting(check_mean_zero)
