"""A single measurement: its record, and its conclusion in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean
from typing import ClassVar

from pytest_entropy.checks.summaries.eta_sweep import SweepRecord, sweep_record
from pytest_entropy.checks.summaries.headline import (
    errors_by_prompts,
    mean_measurement,
    prompts_in_words,
)
from pytest_entropy.checks.summaries.sweep_fit import sweep_of
from pytest_entropy.checks.summaries.target_error import TargetReached, target_reached
from pytest_entropy.checks.update_moves import with_update_warning
from pytest_entropy.records.diagnostics import VarianceParts
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.model import BatchConfig
from pytest_entropy.stats import CheckOutcome, Measurement, PromptErrors, signal_to_noise
from pytest_entropy.stats.change import change, drift, noise
from pytest_entropy.stats.measurement import OVER_UPDATES

# |SE / delta_h1| above which a run says too little of delta_h1.
TOO_NOISY = 0.5


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
class AlongUpdate:
    """The mean delta_h1 of the runs along one update batch, with its error given it; ``interval`` at the confidence."""

    update: int
    runs: int
    delta_h1: float
    se_conditional: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Mean:
    """The mean delta_h1 of all runs, which is the answer of the experiment.

    Attributes:
        delta_h1: the mean.
        se_conditional, se_total, se_next_step: its standard error given the update batches, over update batches (the
            error of the drift per step), and as a prediction of the next step's delta_h1.
        drift, next_step: intervals of both at ``confidence``; None where they are not known.
        confidence: of the intervals.
        by_update: the same along each update batch.
    """

    delta_h1: float
    se_conditional: float | None
    se_total: float | None
    se_next_step: float | None
    drift: tuple[float, float] | None
    next_step: tuple[float, float] | None
    confidence: float
    by_update: list[AlongUpdate]


@dataclass(frozen=True)
class SingleRunAnalysis:
    """``single_test_results.json``.

    Attributes:
        results: the runs.
        mean: their mean.
        eta_sweep: that of the first run, if it has one.
        target: whether the mean has the error that was asked for; None where none was.
    """

    results: list[SingleResult]
    mean: Mean
    eta_sweep: SweepRecord | None = None
    target: TargetReached | None = None

    OMITS_NONE: ClassVar[bool] = True


def single_run_analysis(
    runs: Sequence[RunRecord], *, confidence: float, tolerance: float, batch: BatchConfig | None = None
) -> SingleRunAnalysis:
    """The record of the runs.

    Args:
        runs: records of one experiment's runs.
        confidence, tolerance: as in :func:`.eta_sweep.sweep_record`.
        batch: the section ``batch_config`` of the experiment's configuration, which may ask for an error.
    """
    target = None
    if batch is not None and batch.target_se is not None:
        target = target_reached(runs, batch.target_se, batch.runs_per_batch * batch.updates)
    swept = sweep_of(runs[0]) is not None
    sweep = sweep_record(runs[0], confidence=confidence, tolerance=tolerance) if swept else None
    return SingleRunAnalysis([_one(run) for run in runs], _mean(runs, confidence), sweep, target)


def _mean(runs: Sequence[RunRecord], confidence: float) -> Mean:
    measured = mean_measurement(runs)
    along: dict[float | None, list[RunRecord]] = {}
    for run in runs:
        along.setdefault(run.update_fingerprint, []).append(run)
    return Mean(
        delta_h1=measured.value,
        se_conditional=measured.se,
        se_total=measured.se_total,
        se_next_step=measured.se_next_step,
        drift=measured.ci_total(confidence),
        next_step=measured.ci_next_step(confidence),
        confidence=confidence,
        by_update=[_along(number, some, confidence) for number, some in enumerate(along.values(), start=1)],
    )


def _along(number: int, runs: Sequence[RunRecord], confidence: float) -> AlongUpdate:
    measured = mean_measurement(runs)
    return AlongUpdate(number, len(runs), measured.value, measured.se, measured.ci(confidence))


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
    """(verdict, reason) in words: what the entropy does at the next step and on average, each with its error.

    Args:
        runs: records of one experiment's runs, along one update batch or several; their mean is described.
        sweep: the eta sweep of the first run; None without one.
        confidence: of the interval that decides the sign, in (0, 1).
    """
    unit, measured = runs[0].unit.replace(" per ", "/"), mean_measurement(runs)
    what, known = change(measured, unit, confidence=confidence, when=" at the next step")
    entropy = fmean(run.entropy_mean for run in runs)
    batches = f" (mean of {len(runs)} runs along {measured.updates} update batches)" if measured.updates > 1 else ""
    parts = (
        f"{what}, from {entropy:.2f} {unit}{f': {known}{batches}' if known else ''}",
        drift(measured, unit, confidence=confidence),
        noise(measured),
        "" if sweep is None else sweep.reading,
        prompts_in_words(runs[:1]),
    )
    return "measured", with_update_warning(runs, "; ".join(filter(None, parts)))


def precision(runs: Sequence[RunRecord]) -> CheckOutcome:
    """Whether the error leaves at least half of delta_h1: inconclusive where it does not, with what would do.

    Args:
        runs: records of one experiment's runs, whose mean is judged.
    """
    measured = mean_measurement(runs)
    se = measured.se if measured.se_total is None or measured.single_batch else measured.se_total
    needed = more_to_decide(measured, se, max(run.B_E for run in runs))
    return CheckOutcome(
        name="precision",
        null="the standard error is at most half of δH₁",
        statistic=signal_to_noise(measured.value, se)[0],
        p_value=None,
        alpha=0.0,
        effect=se,
        ci=None,
        unit=runs[0].unit,
        n=measured.prompts,
        verdict="inconclusive" if needed else "pass",
        minimum_detectable_effect=None,
        effect_of_interest=None,
        samples_needed=None,
        likely_causes="",
        reason=needed,
    )


def more_to_decide(measured: Measurement, se: float | None, B_E: int) -> str:
    """What would lower the error to half of delta_h1, as an option; empty where it is no larger.

    The update batches' part of the error shrinks with more of them, the rest with B_E.

    Args:
        measured: delta_h1 with its errors.
        se: the error that is meant, over update batches where it is known.
        B_E: prompts of an entropy batch.
    """
    ratio, _ = signal_to_noise(measured.value, se)
    if se is None or measured.se is None or ratio is None or ratio <= TOO_NOISY:
        return ""
    allowed, of_updates = (TOO_NOISY * measured.value) ** 2, se**2 - measured.se**2
    if of_updates < allowed:
        option = f"--be {ceil(B_E * measured.se**2 / (allowed - of_updates))}"
    else:
        option = f"--entropy-set batch_config.updates={ceil(measured.updates * se**2 / allowed)}"
    over = measured.scope if se == measured.se else OVER_UPDATES
    return f"the error {over} is {ratio:.2f} of δH₁, above {TOO_NOISY:g}; to decide: {option}"
