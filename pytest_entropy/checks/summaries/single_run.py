"""A single measurement: its record, and whether it means anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_entropy.checks.summaries import eta_sweep
from pytest_entropy.checks.summaries.headline import change, measurement
from pytest_entropy.checks.update_moves import said_first, update_moves
from pytest_entropy.checks.validation import sampler_scorer_agreement
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.wire import plain
from pytest_entropy.stats import CheckOutcome, signal_to_noise

__all__ = ["agreement", "conclusion", "record", "update_moves"]


def record(runs: Sequence[RunRecord], *, confidence: float, tolerance: float) -> dict[str, Any]:
    """What ``single_test_results.json`` holds; ``eta_sweep`` where there was one (:func:`.eta_sweep.record`)."""
    results: dict[str, Any] = {"results": [_one(run) for run in runs]}
    if eta_sweep.sweep_of(runs[0]) is not None:
        results["eta_sweep"] = eta_sweep.record(runs[0], confidence=confidence, tolerance=tolerance)
    return results


def _one(run: RunRecord) -> dict[str, Any]:
    ratio, label = signal_to_noise(run.delta_h1, run.se_conditional)
    return {
        "B_E": run.B_E,
        "B_U": len(run.update.prompts),
        "G": run.G,
        "delta_h1": run.delta_h1,
        "se_conditional": run.se_conditional,
        "unit": run.unit,
        "mode": run.mode,
        "se_total": run.se_total,
        "variance_parts": plain(run.variance_parts),
        "notes": run.notes,
        "signal_to_noise": ratio,
        "signal_to_noise_label": label,
        "eta": run.eta,
        "eta_source": run.eta_source,
        "entropy_mean": run.entropy_mean,
        "entropy_se": run.entropy_se,
        "reward_mean": run.update.reward_mean,
        "seconds": run.seconds,
        "peak_memory_mb": run.peak_memory_mb,
    }


def conclusion(runs: Sequence[RunRecord], results: dict[str, Any], *, confidence: float = 0.95) -> tuple[str, str]:
    """Verdict and reason in words, from the runs and their :func:`record`; ``confidence`` is that of the sign."""
    run = runs[0]
    ratio, label = signal_to_noise(run.delta_h1, run.se_conditional)
    unit = run.unit.replace(" per ", "/")
    what, known = change(measurement(run), unit, confidence=confidence)
    noise = "" if ratio is None else f"; |SE/δH₁| = {ratio:.2f} ({label})"
    range_ = f"; {results['eta_sweep']['reading']}" if "eta_sweep" in results else ""
    known = f": {known}" if known else ""
    return "measured", said_first(
        runs, f"{what} at the next step, from {run.entropy_mean:.2f} {unit}{known}{noise}{range_}"
    )


def agreement(runs: Sequence[RunRecord]) -> CheckOutcome:
    """Sampler and scorer agree token by token."""
    return sampler_scorer_agreement(runs)
