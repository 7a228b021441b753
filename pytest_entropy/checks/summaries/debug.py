"""Debugging: all estimators side by side, and what was saved to disk checked against delta_h1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_entropy.checks.summaries import eta_sweep
from pytest_entropy.checks.summaries.headline import change, measurement
from pytest_entropy.checks.update_moves import said_first
from pytest_entropy.records.paths import DIRECTION, ENTROPY_GRADIENT, UPDATE
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.wire import plain

if TYPE_CHECKING:
    from pytest_entropy.plugin.fixtures import Experiment


def report(runs: Sequence[RunRecord], *, confidence: float, tolerance: float) -> dict[str, Any]:
    """What ``debug_report.json`` holds: per run, every estimator with its standard error, sizes and times.

    ``eta_sweep`` where there was one (:func:`.eta_sweep.record`, which takes the keywords), else None.
    """
    records = []
    for run in runs:
        swept = eta_sweep.sweep_of(run) is not None
        sweep = eta_sweep.record(run, confidence=confidence, tolerance=tolerance) if swept else None
        records.append({**_one(run), "eta_sweep": sweep})
    return {"update": plain(runs[0].update), "runs": records}


def _one(run: RunRecord) -> dict[str, Any]:
    estimators = {run.estimator: run.per_prompt}
    estimators |= {n: v for n, v in run.diagnostics.items() if n != "score"}
    return {
        "B_E": run.B_E,
        "run": run.run,
        "delta_h1": run.delta_h1,
        "se_conditional": run.se_conditional,
        "se_total": run.se_total,
        "variance_parts": plain(run.variance_parts),
        "notes": run.notes,
        "estimators": {name: _measure(np.asarray(values) * run.eta) for name, values in estimators.items()},
        "score_identity": _measure(np.asarray(run.diagnostics["score"])),
        "per_prompt": _distribution(np.asarray(run.per_prompt)),
        "entropy_mean": run.entropy_mean,
        "length_mean": run.length_mean,
        "ended_share": run.ended_share,
        "agreement": plain(run.agreement),
        "seconds": run.seconds,
        "peak_memory_mb": run.peak_memory_mb,
    }


def _measure(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(values.mean()), "se": float(values.std(ddof=1) / len(values) ** 0.5)}


def _distribution(s: np.ndarray) -> dict[str, float | None]:
    spread = s.std()
    shape = (s - s.mean()) / spread if spread > 0 else None
    return {
        "sd": float(s.std(ddof=1)),
        "smallest": float(s.min()),
        "median": float(np.median(s)),
        "largest": float(s.max()),
        "skewness": None if shape is None else float((shape**3).mean()),
        "kurtosis": None if shape is None else float((shape**4).mean()),
    }


def conclusion(runs: Sequence[RunRecord], *, confidence: float = 0.95) -> tuple[str, str]:
    """Verdict and reason in words: what the entropy does by each run, with its errors."""
    parts = []
    for run in runs:
        said = change(measurement(run), run.unit.replace(" per ", "/"), confidence=confidence)
        parts.append(f"B_E {run.B_E}: {', '.join(filter(None, said))}")
    return "logged", said_first(runs, "; ".join(parts))


def saved_gradients(experiment: Experiment) -> list[dict[str, Any]]:
    """For each run: the saved entropy gradient dotted with the saved direction, times eta, against delta_h1."""
    from safetensors.torch import load_file

    execution = experiment._execution
    direction = load_file(experiment.directory / UPDATE / DIRECTION)
    entries = []
    for run in experiment.runs:
        name = execution.plan.run_directory(run.B_E, run.run)
        gradient = load_file(experiment.directory / name / ENTROPY_GRADIENT)
        dot = sum(float((gradient[key] * direction[key]).sum()) for key in direction)
        entries.append({"run": name, "delta_h1": run.delta_h1, "delta_h1_from_files": run.eta * dot})
    return entries
