"""Batch scaling: does delta_h1 converge as B_E grows, or scale as 1/B_E? (docs/mathematics.md §6)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_entropy.checks.base import Given
from pytest_entropy.checks.convergence import CHECK, scaling_of
from pytest_entropy.checks.summaries.headline import errors_by_prompts, errors_of_the_fit, measurement, prompts_in_words
from pytest_entropy.checks.update_moves import with_update_warning
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome, PromptErrors, RunScalars, ScalingFit, ScalingVerdict, seed_fields
from pytest_entropy.stats.outcome import OutcomeRecord
from pytest_entropy.stats.scaling import BatchStatistics


@dataclass(frozen=True)
class ConvergenceAnalysis:
    """``convergence_analysis.json``.

    Attributes:
        verdict, reason: the verdict in a word and in a line.
        runs_needed: how many more runs per B_E would decide.
        fit: delta_h1(B_E) = a + b/B_E; None where a run lacks a field that the fit reads.
        check: the check's outcome.
        batch_statistics: by B_E.
        observed_ratio, expected_if_1_over_B_E, suggests_convergence, suggests_1_over_B_E_scaling: the predecessor's
            (:class:`~pytest_entropy.stats.scaling.SeedFields`).
        mean_se_total, se_a_total: errors over update batches, of the mean at each B_E and of a.
        prompt_errors: the error of a run at the largest B_E for prompts like these, which is the one reported, and for
            these prompts.
    """

    verdict: str
    reason: str
    runs_needed: int | None
    fit: ScalingFit | None
    check: OutcomeRecord
    batch_statistics: dict[str, BatchStatistics]
    observed_ratio: float | None
    expected_if_1_over_B_E: float
    suggests_convergence: bool
    suggests_1_over_B_E_scaling: bool
    mean_se_total: dict[str, float | None]
    se_a_total: float | None
    prompt_errors: PromptErrors | None


def run_scalars(runs: Sequence[RunRecord]) -> list[RunScalars]:
    """Per-prompt scalars, eta and reported error of each run, for the scaling fit."""
    return [RunScalars(r.B_E, r.run, np.asarray(r.per_prompt, dtype=float), r.eta, r.se_conditional) for r in runs]


def convergence(
    runs: Sequence[RunRecord], *, alpha: float, confidence: float, tolerance: float, rng: np.random.Generator
) -> tuple[ScalingVerdict, ConvergenceAnalysis]:
    """The verdict on delta_h1(B_E) = a + b/B_E, and the record of it.

    Each run is an independent end-to-end measurement.

    Args:
        runs: records of one experiment's runs.
        alpha: the chance of a red verdict on a correct probe, in (0, 1).
        confidence, tolerance: as in :func:`~pytest_entropy.stats.scaling_verdict`.
        rng: source of the shuffles and resamples.
    """
    given = Given(alpha=alpha, rng=rng, confidence=confidence, tolerance=tolerance)
    data = run_scalars(runs)
    fit, verdict = CHECK.or_inconclusive(runs, lambda measured: scaling_of(data, measured, given), _not_measured)
    words, errors = errors_of_the_fit(runs, fit)
    scope = f"the errors are {measurement(runs[0]).scope}" if fit is not None and fit.a is not None else ""
    reason = "; ".join(filter(None, (verdict.reason, scope, words, prompts_in_words(runs))))
    verdict = replace(verdict, reason=with_update_warning(runs, reason))
    seed = seed_fields(data, verdict.verdict)
    return verdict, ConvergenceAnalysis(
        verdict=verdict.verdict,
        reason=verdict.reason,
        runs_needed=verdict.runs_needed,
        fit=fit,
        check=verdict.outcome.to_dict(),
        batch_statistics=seed.batch_statistics,
        observed_ratio=seed.observed_ratio,
        expected_if_1_over_B_E=seed.expected_if_1_over_B_E,
        suggests_convergence=seed.suggests_convergence,
        suggests_1_over_B_E_scaling=seed.suggests_1_over_B_E_scaling,
        mean_se_total=errors.mean_se_total,
        se_a_total=errors.se_a_total,
        prompt_errors=errors_by_prompts(runs),
    )


def _not_measured(outcome: CheckOutcome) -> tuple[ScalingFit | None, ScalingVerdict]:
    return None, ScalingVerdict("inconclusive", outcome, outcome.reason, None)
