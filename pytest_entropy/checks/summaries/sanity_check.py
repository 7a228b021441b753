"""The sanity check's record: the share of runs that succeeded, and every variance estimate side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_entropy.checks.summaries.headline import errors_by_prompts, prompts_in_words
from pytest_entropy.checks.update_moves import with_update_warning
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import PromptErrors, measurements, pool, signal_to_noise


@dataclass(frozen=True)
class FailedRunEntry:
    """A run without a result, and its error message."""

    B_E: int
    run: int
    error: str


@dataclass(frozen=True)
class ValidatedRun:
    """One run, in nats: delta_h1 with its errors, and the same by ``reinforce_loo``, where that was computed."""

    B_E: int
    run: int
    delta_h1: float
    se_conditional: float | None
    se_total: float | None
    reinforce_loo: float | None
    seconds: float


@dataclass(frozen=True)
class ValidationSummary:
    """``validation_summary.json``.

    Attributes:
        runs_with_diagnostics: the number of runs with diagnostics, which most checks look at alone.
        delta_h1_mean, delta_h1_mean_se, delta_h1_mean_se_total: the mean over runs, with the error for this update
            batch and the one over update batches.
        spread_over_runs, se_conditional_pooled, spread_over_se: the spread of delta_h1 over runs, the root mean square
            of the runs' standard errors, and their ratio.
        signal_to_noise, signal_to_noise_label: of the mean.
        prompt_errors: the error of a run for prompts like these, which is the one reported, and for these prompts.
    """

    runs_planned: int
    runs_succeeded: int
    runs_with_diagnostics: int
    success_rate: float
    failed_runs: list[FailedRunEntry]
    delta_h1_mean: float | None
    delta_h1_mean_se: float | None
    delta_h1_mean_se_total: float | None
    spread_over_runs: float | None
    se_conditional_pooled: float | None
    spread_over_se: float | None
    signal_to_noise: float | None
    signal_to_noise_label: str
    per_run: list[ValidatedRun]
    prompt_errors: PromptErrors | None


def validation_summary(runs: Sequence[RunRecord], failures: Mapping[tuple[int, int], Exception]) -> ValidationSummary:
    """The summary of an experiment's runs.

    Args:
        runs: records of the runs with a result.
        failures: the errors of the other runs, by (B_E, run).
    """
    delta = np.array([run.delta_h1 for run in runs])
    conditional = np.array([np.nan if run.se_conditional is None else run.se_conditional for run in runs])
    spread = float(delta.std(ddof=1)) if len(delta) > 1 else None
    known = bool(len(delta) and np.isfinite(conditional).all())
    pooled = float(np.sqrt(np.mean(conditional**2))) if known else None
    mean = float(delta.mean()) if len(delta) else None
    whole = pool(measurements(runs)) if runs else None
    mean_se = whole.se if whole is not None else None
    ratio, label = signal_to_noise(mean, mean_se) if mean is not None else (None, "poor")
    planned = len(runs) + len(failures)
    return ValidationSummary(
        runs_planned=planned,
        runs_succeeded=len(runs),
        runs_with_diagnostics=with_diagnostics(runs),
        success_rate=len(runs) / planned,
        failed_runs=[FailedRunEntry(b, r, str(e)) for (b, r), e in sorted(failures.items())],
        delta_h1_mean=mean,
        delta_h1_mean_se=mean_se,
        delta_h1_mean_se_total=whole.se_total if whole is not None else None,
        spread_over_runs=spread,
        se_conditional_pooled=pooled,
        spread_over_se=spread / pooled if spread is not None and pooled else None,
        signal_to_noise=ratio,
        signal_to_noise_label=label,
        per_run=[_one(run) for run in runs],
        prompt_errors=errors_by_prompts(runs),
    )


def _one(run: RunRecord) -> ValidatedRun:
    by_loo = run.diagnostics.get("reinforce_loo")
    return ValidatedRun(
        B_E=run.B_E,
        run=run.run,
        delta_h1=run.delta_h1,
        se_conditional=run.se_conditional,
        se_total=run.se_total,
        reinforce_loo=None if by_loo is None else float(run.eta * np.mean(by_loo)),
        seconds=sum(run.seconds.values()),
    )


def with_diagnostics(runs: Sequence[RunRecord]) -> int:
    """The number of runs that were asked for the diagnostic ``definition``, and with it for the others.

    Args:
        runs: records of the runs with a result.
    """
    return sum("definition" in (run.asked or ()) for run in runs)


def conclusion(runs: Sequence[RunRecord], planned: int) -> tuple[str, str]:
    """(verdict, reason) in words: how many of the planned runs have a result.

    Args:
        runs: records of the runs with a result.
        planned: the number of runs planned.
    """
    verdict = "runs succeeded" if len(runs) == planned else "runs failed"
    some = with_diagnostics(runs)
    depth = f"{some} of them with diagnostics (checks.depth light)" if 0 < some < len(runs) else ""
    parts = (f"{len(runs)} of {planned} runs gave a result", depth, prompts_in_words(runs))
    reason = "; ".join(filter(None, parts))
    return verdict, with_update_warning(runs, reason)
