"""Batch scaling: does delta_h1 converge as B_E grows, or scale as 1/B_E? (docs/mathematics.md §6)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pytest_entropy.checks.measured import undecided
from pytest_entropy.checks.summaries.headline import errors_of_the_fit, measurement
from pytest_entropy.checks.update_moves import said_first
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import (
    CheckOutcome,
    RunScalars,
    ScalingFit,
    ScalingVerdict,
    check_se_slope,
    fit_scaling,
    scaling_verdict,
    seed_fields,
)

SE_SLOPE = "the standard error shrinks as B_E to the power -1/2"
OWN_UPDATES = (
    "with probe.mode u_statistic every run has an update of its own, and the error of a single batch does not follow "
    "B_E^(-1/2) at small B_E; take mode two_batch for this check"
)


def scalars(runs: Sequence[RunRecord]) -> list[RunScalars]:
    """What the fit needs of each run: its per-prompt scalars and eta."""
    return [RunScalars(r.B_E, r.run, np.asarray(r.per_prompt, dtype=float), r.eta, r.se_conditional) for r in runs]


def convergence(
    runs: Sequence[RunRecord], *, alpha: float, confidence: float, tolerance: float, rng: np.random.Generator
) -> tuple[ScalingVerdict, dict[str, Any]]:
    """The verdict on delta_h1(B_E) = a + b/B_E, and the record ``convergence_analysis.json`` holds.

    Each run is an independent end-to-end measurement; ``alpha`` is the chance of a red verdict on a probe that
    is right.
    """
    data = scalars(runs)
    fit = with_shared_prompts(fit_scaling(data, confidence=confidence, rng=rng, alpha=alpha), runs)
    verdict = scaling_verdict(fit, alpha=alpha, confidence=confidence, tolerance=tolerance)
    words, over_updates = errors_of_the_fit(runs, fit)
    scope = f"the errors are {measurement(runs[0]).scope}" if fit.a is not None else ""
    reason = "; ".join(filter(None, (verdict.reason, scope, words)))
    verdict = replace(verdict, reason=said_first(runs, reason))
    record = {
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "runs_needed": verdict.runs_needed,
        "fit": asdict(fit),
        "check": verdict.outcome.to_dict(),
        **asdict(seed_fields(data, verdict.verdict)),
        **over_updates,
    }
    return verdict, record


def with_shared_prompts(fit: ScalingFit, runs: Sequence[RunRecord]) -> ScalingFit:
    """The fit with what runs share in the error of a, where each draws a part of one set of N prompts.

    a is a mean of runs with weights that add up to 1, so that what is common to them enters it whole: at most sigma^2 /
    N, with sigma^2 / B_E the squared standard error of a run and N = B_E / ``sampling_fraction``.  In b it cancels.
    """
    if fit.a is None or not fit.se_a or fit.ci_a is None:
        return fit
    known = [(run.se_conditional, run.sampling_fraction) for run in runs]
    shared = [se**2 * fraction for se, fraction in known if se is not None and fraction is not None]
    if len(shared) < len(known):
        return fit
    se = math.sqrt(fit.se_a**2 + math.fsum(shared) / len(shared))
    low, high = (fit.a + (end - fit.a) * se / fit.se_a for end in fit.ci_a)
    return replace(fit, se_a=se, ci_a=(low, high))


def se_slope(runs: Sequence[RunRecord], *, alpha: float, rng: np.random.Generator) -> CheckOutcome:
    """The second check: log SE against log B_E has slope -1/2.

    Inconclusive for single batches: pseudo-values of different runs belong to different updates, which no shuffle may
    mix, and at small B their error is no multiple of B^(-1/2): 4 zeta_1 / B is too small by ((B - 2)/(B - 1))^2.
    """
    single = [run for run in runs if run.mode == "u_statistic"]
    if single:
        return undecided("se_slope", SE_SLOPE, len(runs), OWN_UPDATES)
    return check_se_slope(scalars(runs), alpha=alpha, rng=rng)
