"""delta_h1(B_E) = a + b/B_E has no finite-batch bias b (docs/mathematics.md §6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pytest_entropy.checks.base import Check, Given, Runs
from pytest_entropy.stats import CheckOutcome, RunScalars, ScalingFit, ScalingVerdict, fit_scaling, scaling_verdict
from pytest_entropy.stats.convergence import LIKELY_CAUSES, NULL
from pytest_entropy.stats.own_updates import with_own_errors


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the scaling fit to all runs."""
    data = [RunScalars(run.B_E, run.run, run.scalars("per_prompt"), run.number("eta")) for run in runs]
    return scaling_of(data, runs, given)[1].outcome


def scaling_of(data: Sequence[RunScalars], runs: Runs, given: Given) -> tuple[ScalingFit, ScalingVerdict]:
    """The scaling fit to the runs, with the error that shared prompts add, and the verdict on it.

    Each run is an independent end-to-end measurement.

    Args:
        data: per-prompt scalars and eta of each run.
        runs: the same runs, with their errors and shares of the prompts.
        given: confidence, tolerance, rng, and alpha, the chance of a red verdict on a correct probe.
    """
    fit = fit_scaling(data, confidence=given.confidence, rng=given.generator, alpha=given.share)
    fit = with_own_errors(fit, list(data)) if runs[0].is_single_batch else with_shared_prompts(fit, runs)
    return fit, scaling_verdict(fit, alpha=given.share, confidence=given.confidence, tolerance=given.tolerance)


def with_shared_prompts(fit: ScalingFit, runs: Runs) -> ScalingFit:
    """The fit with the error of a enlarged, where each run draws a share of one set of N prompts.

    a is a mean of runs with weights that add up to 1, so that what is common to them enters it whole: at most sigma^2 /
    N, with sigma^2 / B_E the squared standard error of a run and N = B_E / ``sampling_fraction``.  In b it cancels.

    Args:
        fit: the scaling fit, with an error for independent prompts.
        runs: the runs it was fitted to.

    Raises:
        Missing: a run lacks its standard error or its share of the prompts.
    """
    shared = [run.number("se_conditional") ** 2 * run.number("sampling_fraction") for run in runs]
    if fit.a is None or not fit.se_a or fit.ci_a is None:
        return fit
    se = math.sqrt(fit.se_a**2 + math.fsum(shared) / len(shared))
    low, high = (fit.a + (end - fit.a) * se / fit.se_a for end in fit.ci_a)
    return replace(fit, se_a=se, ci_a=(low, high))


CHECK = Check(
    name="convergence",
    claim=NULL,
    likely_causes=LIKELY_CAUSES,
    needs=("per_prompt", "eta", "se_conditional", "sampling_fraction"),
    judge=judge,
    statistical=True,
)
