"""Batch scaling: does delta_h1 converge as B_E grows, or scale as 1/B_E? (docs/mathematics.md §6)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_entropy.analyses.update_moves import said_first
from pytest_entropy.stats import (
    CheckOutcome,
    RunScalars,
    ScalingVerdict,
    check_se_slope,
    fit_scaling,
    scaling_verdict,
    seed_fields,
)

if TYPE_CHECKING:
    from pytest_entropy.probe import ProbeResult


def scalars(runs: Sequence[ProbeResult]) -> list[RunScalars]:
    """What the fit needs of each run: its per-prompt scalars and eta."""
    return [RunScalars(r.B_E, r.run, np.asarray(r.per_prompt, dtype=float), r.eta, r.se_conditional) for r in runs]


def convergence(
    runs: Sequence[ProbeResult], *, alpha: float, confidence: float, tolerance: float, rng: np.random.Generator
) -> tuple[ScalingVerdict, dict[str, Any]]:
    """The verdict on delta_h1(B_E) = a + b/B_E, and the record ``convergence_analysis.json`` holds.

    Each run is an independent end-to-end measurement; ``alpha`` is the chance of a red verdict on a probe that
    is right.
    """
    data = scalars(runs)
    fit = fit_scaling(data, confidence=confidence, rng=rng, alpha=alpha)
    verdict = scaling_verdict(fit, alpha=alpha, confidence=confidence, tolerance=tolerance)
    verdict = replace(verdict, reason=said_first(runs, verdict.reason))
    record = {
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "runs_needed": verdict.runs_needed,
        "fit": asdict(fit),
        "check": verdict.outcome.to_dict(),
        **seed_fields(data, verdict.verdict),
    }
    return verdict, record


def se_slope(runs: Sequence[ProbeResult], *, alpha: float, rng: np.random.Generator) -> CheckOutcome:
    """The second check: log SE against log B_E has slope -1/2."""
    return check_se_slope(scalars(runs), alpha=alpha, rng=rng)
