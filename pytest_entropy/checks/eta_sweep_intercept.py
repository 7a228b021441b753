"""delta_h1 is the slope of the entropy itself at step 0: intercepts of the eta sweep minus s_n have mean 0."""

from __future__ import annotations

import numpy as np

from pytest_entropy.checks.base import ETA, IN_NATS, SURPRISES, Check, Given, Runs, mean_derivative, mean_zero
from pytest_entropy.checks.summaries.sweep_fit import SWEEP_ARRAYS, distrust, fit, sweep_from
from pytest_entropy.records.measured import Measured
from pytest_entropy.stats import CheckOutcome

ARRAYS = tuple(f"arrays.{name}" for name in SWEEP_ARRAYS)
NO_SWEEP = "no eta sweep: eta_sweep.multiples is empty, or probe.mode is u_statistic"


def wrong_derivative(runs: Runs) -> float | None:
    """The error of delta_h1 where it is doubled or missing, in nats per response."""
    return mean_derivative(runs) or None


def has_a_sweep(runs: Runs, given: Given) -> str:
    """The reason why the check does not apply: no run was asked for an eta sweep; "" where one was."""
    recorded = any(run.has(name) for run in runs for name in ARRAYS)
    return "" if recorded or any(_was_asked_to_sweep(run) for run in runs) else NO_SWEEP


def _was_asked_to_sweep(run: Measured) -> bool:
    return run.was_asked("eta_sweep") and not run.is_single_batch


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the mean of the sweep's intercepts minus s_n over all prompts."""
    differences = []
    for run in runs:
        sweep = sweep_from({name.removeprefix("arrays."): run.array(name) for name in ARRAYS})
        fitted = fit(sweep)
        if fitted is None or not sweep.change.any():
            why = "the update direction is zero, so that nothing moves along it"
            if fitted is None:
                reasons = "; ".join(f"at {h:.3g}: {r}" for h, r in zip(sweep.steps, distrust(sweep), strict=True) if r)
                why = f"fewer than two steps are trusted ({reasons}): give other eta_sweep.multiples"
            return CheckOutcome(
                check.name, check.claim, None, None, given.share, None, None, IN_NATS, run.B_E, "inconclusive",
                None, None, None, why,
            )  # fmt: skip
        differences.append(fitted.intercepts - run.scalars("entropy_term"))
    return mean_zero(check, runs, given, np.concatenate(differences))


CHECK = Check(
    name="eta_sweep_intercept",
    claim="the slope of the entropy along the update, extrapolated to step 0, is delta_h1 / eta",
    likely_causes="a sign or factor in the estimator, a wrong entropy-to-go, or a direction other than the one stepped",
    needs=(*ARRAYS, "asked", "entropy_term", SURPRISES, ETA),
    judge=judge,
    statistical=True,
    effect=wrong_derivative,
    applies=has_a_sweep,
)
