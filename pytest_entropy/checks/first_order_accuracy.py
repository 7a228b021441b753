"""delta_h1 is the slope of the entropy itself: s_n - (Delta_n(h) - Delta_n(-h)) / 2h has mean 0."""

from __future__ import annotations

from pytest_entropy.checks.base import (
    ETA,
    SURPRISES,
    Check,
    Given,
    Runs,
    expected_surprises,
    joined,
    mean_derivative,
    mean_zero,
    undecided,
)
from pytest_entropy.stats import CheckOutcome
from pytest_entropy.stats.mean import few_events, too_few_events

SLOPE = "diagnostics.entropy_slope"


def wrong_factor(runs: Runs) -> float | None:
    """The error of delta_h1 where it is doubled or missing, in nats per response."""
    return mean_derivative(runs) or None


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the mean difference of s_n and the importance-sampled slope, prompt by prompt."""
    surprises = expected_surprises(runs)
    if too_few_events(surprises, sum(run.B_E for run in runs)) and any(not run.has(SLOPE) for run in runs):
        # No step moves a collapsed policy far enough to measure a slope, which is why there is none.
        return undecided(check, len(runs), few_events(surprises))
    return mean_zero(check, runs, given, joined(runs, "entropy_term") - joined(runs, SLOPE))


CHECK = Check(
    name="first_order_accuracy",
    claim="s_n minus the importance-sampled slope of the entropy along u has mean 0",
    likely_causes="a sign or factor in the estimator, a wrong entropy-to-go, or a direction other than the one stepped",
    needs=("asked", "entropy_term", SLOPE, SURPRISES, ETA),
    judge=judge,
    asks=("entropy_slope",),
    statistical=True,
    effect=wrong_factor,
)
