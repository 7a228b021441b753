"""The configured estimator and reinforce_loo estimate one gradient: their paired difference has mean 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_entropy.checks.base import ETA, SURPRISES, Check, Given, Runs, exact, joined, mean_derivative, mean_zero
from pytest_entropy.records.measured import Measured
from pytest_entropy.stats import CheckOutcome

NAME = "reinforce_loo"
OTHER = f"diagnostics.{NAME}"


def wrong_sign(runs: Runs) -> float | None:
    """The error of an estimate of delta_h1 whose sign is wrong, in nats per response."""
    return 2 * mean_derivative(runs) or None


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the mean difference of the two estimates, prompt by prompt; numbers that are one estimator's alone fail."""
    copied = sum(map(float, (_is_copied(run) for run in runs)))
    if copied:
        outcome = exact(check, [copied], noise_floor=0.0, unit="runs with equal numbers")
        return replace(
            outcome,
            null=f"{runs[0].estimator} and {NAME} are two computations, whose numbers differ",
            likely_causes="one estimator's numbers are recorded under both names",
        )
    difference = joined(runs, "entropy_term") - joined(runs, OTHER)
    null = f"{runs[0].estimator} - reinforce_loo has mean 0 on the same rollouts"
    return mean_zero(check, runs, given, difference, null=null)


def _is_copied(run: Measured) -> bool:
    """Whether all numbers of two estimators are equal bit by bit; where all are 0 they may be."""
    if run.estimator == NAME:
        return False
    own = run.scalars("entropy_term")
    return bool(own.any()) and np.array_equal(own, run.scalars(OTHER))


CHECK = Check(
    name="estimator_agreement",
    claim="two estimators of one derivative differ by a mean of 0 on the same rollouts",
    likely_causes="a wrong baseline, entropy-to-go off by a position, or a sign",
    needs=("asked", "entropy_term", OTHER, SURPRISES, ETA),
    judge=judge,
    asks=(NAME,),
    statistical=True,
    effect=wrong_sign,
)
