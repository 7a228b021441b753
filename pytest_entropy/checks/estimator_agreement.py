"""The configured estimator and reinforce_loo estimate one gradient: their paired difference has mean 0."""

from __future__ import annotations

from pytest_entropy.checks.base import SURPRISES, Check, Given, Runs, joined, mean_derivative, mean_zero
from pytest_entropy.stats import CheckOutcome

OTHER = "diagnostics.reinforce_loo"


def wrong_sign(runs: Runs) -> float | None:
    """The error of an estimate of the derivative whose sign is wrong, in nats per unit of eta."""
    return 2 * mean_derivative(runs) or None


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the mean difference of the two estimates, prompt by prompt."""
    difference = joined(runs, "entropy_term") - joined(runs, OTHER)
    null = f"{runs[0].estimator} - reinforce_loo has mean 0 on the same rollouts"
    return mean_zero(check, runs, given, difference, null=null)


CHECK = Check(
    name="estimator_agreement",
    claim="two estimators of one derivative differ by a mean of 0 on the same rollouts",
    likely_causes="a wrong baseline, entropy-to-go off by a position, or a sign",
    needs=("entropy_term", OTHER, SURPRISES),
    judge=judge,
    statistical=True,
    effect=wrong_sign,
)
