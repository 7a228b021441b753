"""The runs' estimator and reinforce_loo estimate one gradient: their paired difference has mean 0."""

from __future__ import annotations

import numpy as np

from pytest_entropy.checks.base import SURPRISES, Check, Given, Runs, expected_surprises, mean_derivative
from pytest_entropy.stats import CheckOutcome, check_mean_zero

OTHER = "diagnostics.reinforce_loo"


def wrong_sign(runs: Runs) -> float | None:
    """By how much one of two estimates of the derivative is off if its sign is wrong, in nats per unit of eta."""
    return 2 * mean_derivative(runs) or None


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the mean difference of the two estimates, prompt by prompt."""
    return check_mean_zero(
        np.concatenate([run.scalars("entropy_term") - run.scalars(OTHER) for run in runs]),
        alpha=given.share,
        name=check.name,
        null=f"{runs[0].estimator} - reinforce_loo has mean 0 on the same rollouts",
        unit="nats per unit of eta",
        likely_causes=check.likely_causes,
        effect_of_interest=wrong_sign(runs),
        expected_events=expected_surprises(runs),
    )


CHECK = Check(
    name="estimator_agreement",
    claim="two estimators of one derivative differ by a mean of 0 on the same rollouts",
    likely_causes="a wrong baseline, entropy-to-go off by a position, or a sign",
    needs=("entropy_term", OTHER, SURPRISES),
    judge=judge,
    statistical=True,
    effect=wrong_sign,
)
