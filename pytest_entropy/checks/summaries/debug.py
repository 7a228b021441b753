"""Debugging: all estimators side by side, and delta_h1 recomputed from the gradients saved to disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_entropy.checks.summaries.eta_sweep import SweepRecord, sweep_record
from pytest_entropy.checks.summaries.headline import each_measurement
from pytest_entropy.checks.summaries.sweep_fit import sweep_of
from pytest_entropy.checks.update_moves import with_update_warning
from pytest_entropy.records.diagnostics import Diagnostics, VarianceParts
from pytest_entropy.records.paths import DIRECTION, ENTROPY_GRADIENT, UPDATE
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import UpdateRecord
from pytest_entropy.stats.change import change


@dataclass(frozen=True)
class MeanAndError:
    """A mean over prompts, and its standard error."""

    mean: float
    se: float


@dataclass(frozen=True)
class Distribution:
    """Moments and quantiles of s_n over prompts; no skewness or kurtosis where all are equal."""

    sd: float
    smallest: float
    median: float
    largest: float
    skewness: float | None
    kurtosis: float | None


@dataclass(frozen=True)
class DebugRun:
    """One run: every estimator with its standard error (nats), sizes, times, and the eta sweep if there was one."""

    B_E: int
    run: int
    delta_h1: float
    se_conditional: float | None
    se_total: float | None
    variance_parts: VarianceParts
    notes: list[str]
    estimators: dict[str, MeanAndError]
    score_identity: MeanAndError
    per_prompt: Distribution
    entropy_mean: float
    length_mean: float
    ended_share: float
    agreement: Diagnostics
    seconds: dict[str, float]
    peak_memory_mb: float
    eta_sweep: SweepRecord | None


@dataclass(frozen=True)
class SavedGradient:
    """delta_h1 of a run (its directory's name) from E's responses alone, and from the files of ``--save-gradients``."""

    run: str
    delta_h1: float
    delta_h1_from_files: float


@dataclass(frozen=True)
class DebugReport:
    """``debug_report.json``."""

    update: UpdateRecord
    runs: list[DebugRun]
    saved_gradients: list[SavedGradient]


def debug_report(
    runs: Sequence[RunRecord], saved: Sequence[SavedGradient] = (), *, confidence: float, tolerance: float
) -> DebugReport:
    """The report on the runs.

    Args:
        runs: records of one experiment's runs.
        saved: delta_h1 from saved gradients, of the runs that have them.
        confidence, tolerance: as in :func:`.eta_sweep.sweep_record`.
    """
    return DebugReport(runs[0].update, [_one(run, confidence, tolerance) for run in runs], list(saved))


def _one(run: RunRecord, confidence: float, tolerance: float) -> DebugRun:
    estimators = {run.estimator: run.per_prompt}
    estimators |= {n: v for n, v in run.diagnostics.items() if n != "score"}
    swept = sweep_of(run) is not None
    return DebugRun(
        B_E=run.B_E,
        run=run.run,
        delta_h1=run.delta_h1,
        se_conditional=run.se_conditional,
        se_total=run.se_total,
        variance_parts=run.variance_parts,
        notes=run.notes,
        estimators={name: _measure(np.asarray(values) * run.eta) for name, values in estimators.items()},
        score_identity=_measure(np.asarray(run.diagnostics["score"])),
        per_prompt=_distribution(np.asarray(run.per_prompt)),
        entropy_mean=run.entropy_mean,
        length_mean=run.length_mean,
        ended_share=run.ended_share,
        agreement=run.agreement,
        seconds=run.seconds,
        peak_memory_mb=run.peak_memory_mb,
        eta_sweep=sweep_record(run, confidence=confidence, tolerance=tolerance) if swept else None,
    )


def _measure(values: np.ndarray) -> MeanAndError:
    return MeanAndError(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))


def _distribution(s: np.ndarray) -> Distribution:
    spread = s.std()
    shape = (s - s.mean()) / spread if spread > 0 else None
    return Distribution(
        sd=float(s.std(ddof=1)),
        smallest=float(s.min()),
        median=float(np.median(s)),
        largest=float(s.max()),
        skewness=None if shape is None else float((shape**3).mean()),
        kurtosis=None if shape is None else float((shape**4).mean()),
    )


def conclusion(runs: Sequence[RunRecord], *, confidence: float = 0.95) -> tuple[str, str]:
    """(verdict, reason) in words: what the entropy does in each run, with its errors.

    Args:
        runs: records of one experiment's runs.
        confidence: of the interval that decides the sign, in (0, 1).
    """
    parts = []
    for run, measured in zip(runs, each_measurement(runs), strict=True):
        said = change(measured, run.unit.replace(" per ", "/"), confidence=confidence)
        parts.append(f"B_E {run.B_E}: {', '.join(filter(None, said))}")
    return "logged", with_update_warning(runs, "; ".join(parts))


def saved_gradients(runs: Sequence[RunRecord], directory: Path) -> list[SavedGradient]:
    """delta_h1 of each run, recomputed as eta times <saved entropy gradient, saved direction>.

    Args:
        runs: records of runs that saved their gradients.
        directory: the experiment's directory.
    """
    from safetensors.torch import load_file

    direction = load_file(directory / UPDATE / DIRECTION)
    entries = []
    for run in runs:
        gradient = load_file(directory / run.directory / ENTROPY_GRADIENT)
        dot = sum(float((gradient[key] * direction[key]).sum()) for key in direction)
        entries.append(SavedGradient(run.directory, _of_responses(run), run.eta * dot))
    return entries


def _of_responses(run: RunRecord) -> float:
    """The run's delta_h1 without companion reads, which no gradient holds."""
    if not run.companions.count:
        return run.delta_h1
    assert run.entropy_term is not None
    return run.eta * float(np.mean(run.entropy_term))
