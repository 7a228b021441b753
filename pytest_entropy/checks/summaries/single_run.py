"""A single measurement: its record, and its conclusion in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.checks.summaries.eta_sweep import SweepRecord, sweep_record
from pytest_entropy.checks.summaries.headline import change, errors_by_prompts, measurement, prompts_in_words
from pytest_entropy.checks.summaries.sweep_fit import sweep_of
from pytest_entropy.checks.update_moves import with_update_warning
from pytest_entropy.records.diagnostics import VarianceParts
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import PromptErrors, signal_to_noise


@dataclass(frozen=True)
class SingleResult:
    """The fields of a :class:`~pytest_entropy.records.run.RunRecord` that a summary shows, in the run's ``unit``."""

    B_E: int
    B_U: int
    G: int
    delta_h1: float
    se_conditional: float | None
    unit: str
    mode: str
    se_total: float | None
    variance_parts: VarianceParts
    notes: list[str]
    signal_to_noise: float | None
    signal_to_noise_label: str
    eta: float
    eta_source: str
    entropy_mean: float
    entropy_se: float | None
    reward_mean: float | None
    seconds: dict[str, float]
    peak_memory_mb: float
    prompt_errors: PromptErrors | None


@dataclass(frozen=True)
class SingleRunAnalysis:
    """``single_test_results.json``; ``eta_sweep`` is that of the first run, if it has one."""

    results: list[SingleResult]
    eta_sweep: SweepRecord | None = None

    OMITS_NONE: ClassVar[bool] = True


def single_run_analysis(runs: Sequence[RunRecord], *, confidence: float, tolerance: float) -> SingleRunAnalysis:
    """The record of the runs.

    Args:
        runs: records of one experiment's runs.
        confidence, tolerance: as in :func:`.eta_sweep.sweep_record`.
    """
    swept = sweep_of(runs[0]) is not None
    sweep = sweep_record(runs[0], confidence=confidence, tolerance=tolerance) if swept else None
    return SingleRunAnalysis([_one(run) for run in runs], sweep)


def _one(run: RunRecord) -> SingleResult:
    ratio, label = signal_to_noise(run.delta_h1, run.se_conditional)
    return SingleResult(
        B_E=run.B_E,
        B_U=len(run.update.prompts),
        G=run.G,
        delta_h1=run.delta_h1,
        se_conditional=run.se_conditional,
        unit=run.unit,
        mode=run.mode,
        se_total=run.se_total,
        variance_parts=run.variance_parts,
        notes=run.notes,
        signal_to_noise=ratio,
        signal_to_noise_label=label,
        eta=run.eta,
        eta_source=run.eta_source,
        entropy_mean=run.entropy_mean,
        entropy_se=run.entropy_se,
        reward_mean=run.update.reward_mean,
        seconds=run.seconds,
        peak_memory_mb=run.peak_memory_mb,
        prompt_errors=errors_by_prompts([run]),
    )


def conclusion(
    runs: Sequence[RunRecord], sweep: SweepRecord | None = None, *, confidence: float = 0.95
) -> tuple[str, str]:
    """(verdict, reason) in words: what the entropy does at the next step, with its errors.

    Args:
        runs: records of one experiment's runs; the first is described.
        sweep: the eta sweep of the first run; None without one.
        confidence: of the interval that decides the sign, in (0, 1).
    """
    run = runs[0]
    ratio, label = signal_to_noise(run.delta_h1, run.se_conditional)
    unit = run.unit.replace(" per ", "/")
    what, known = change(measurement(run), unit, confidence=confidence)
    noise = "" if ratio is None else f"; |SE/δH₁| = {ratio:.2f} ({label})"
    range_ = "" if sweep is None else f"; {sweep.reading}"
    known = f": {known}" if known else ""
    of_prompts = prompts_in_words([run])
    range_ += f"; {of_prompts}" if of_prompts else ""
    return "measured", with_update_warning(
        runs, f"{what} at the next step, from {run.entropy_mean:.2f} {unit}{known}{noise}{range_}"
    )
