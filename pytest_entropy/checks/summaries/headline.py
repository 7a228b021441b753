"""Measurements of runs with all that their intervals depend on, and the errors of an experiment's summaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import (
    Measurement,
    PromptErrors,
    ScalingFit,
    measurements,
    pool,
    prompt_errors,
)
from pytest_entropy.stats.measurement import OVER_UPDATES


def measurement(run: RunRecord) -> Measurement:
    """A run's delta_h1 with both errors, and the skewness and B_U that their intervals depend on."""
    return _with_update(Measurement.of(run).with_skew_of(run.per_prompt), run)


def mean_measurement(runs: Sequence[RunRecord]) -> Measurement:
    """The mean delta_h1 of runs along one update batch or several, with both errors; of one run, its own."""
    if len(runs) == 1:
        return measurement(runs[0])
    return pool(each_measurement(runs))


def each_measurement(runs: Sequence[RunRecord]) -> list[Measurement]:
    """The measurements of an experiment's runs, each with the error over update batches where any run has one."""
    if len(runs) == 1:
        return [measurement(runs[0])]
    # The largest run knows the update batch's part best.
    knowing = [run for run in runs if run.variance_parts.standard_error is not None]
    best = max(knowing, key=lambda run: run.B_E, default=runs[0])
    pairs = zip(measurements(runs), runs, strict=True)
    return [_with_update(one.with_skew_of(run.per_prompt), best) for one, run in pairs]


def _with_update(measured: Measurement, run: RunRecord) -> Measurement:
    parts = run.variance_parts
    return replace(
        measured,
        update_prompts=len(run.update.prompts),
        update_error=parts.standard_error,
        update_skew=parts.update_skewness,
    )


def errors_by_prompts(runs: Sequence[RunRecord]) -> PromptErrors | None:
    """The error of one run in its two meanings, for prompts like these and for these prompts.

    It is of the runs at the largest B_E, with the variance between answers to one prompt where prompts recur over
    these runs; None with replacement, for single batches, and where the runs lack a number.

    Args:
        runs: records of one experiment's runs.
    """
    largest = max((run.B_E for run in runs), default=0)
    some = [run for run in runs if largest == run.B_E and run.mode == "two_batch"]
    errors = [run.se_conditional for run in some if run.se_conditional is not None]
    fractions = [run.sampling_fraction for run in some if run.sampling_fraction is not None]
    if not errors or not fractions:
        return None
    se = float(np.sqrt(np.mean(np.square(errors))))
    prompts = [run.prompts for run in some if run.prompts is not None]
    scalars = [np.asarray(run.per_prompt, dtype=float) for run in some]
    drawn = largest * max(run.companions.per_prompt for run in some)
    return prompt_errors(se, drawn, max(fractions), scalars, prompts)


def prompts_in_words(runs: Sequence[RunRecord]) -> str:
    """What the error of a run refers to, where its prompts are a large share of a small set; else empty."""
    errors = errors_by_prompts(runs)
    return "" if errors is None else errors.in_words()


@dataclass(frozen=True)
class FitErrors:
    """Errors over update batches: of the mean at each B_E, and of the fit's a; None where they were not asked for."""

    mean_se_total: dict[str, float | None]
    se_a_total: float | None = None


def errors_of_the_fit(runs: Sequence[RunRecord], fit: ScalingFit | None) -> tuple[str, FitErrors]:
    """The errors over update batches of a scaling fit, in words (empty where not asked for) and for its record.

    a is a mean of the runs, with weights that add up to 1, so that the update batch's part of the variance enters
    it whole; in b, whose weights add up to 0, it cancels.

    Args:
        runs: records of one experiment's runs.
        fit: the fit to them; None where there is none.
    """
    measured = measurements(runs)
    whole = pool(measured)
    sizes = sorted({run.B_E for run in runs}) if fit is None else fit.batch_sizes
    by_size = {str(size): pool([one for one in measured if one.prompts == size]).se_total for size in sizes}
    if fit is None or fit.a is None or fit.se_a is None or whole.single_batch:
        return "", FitErrors(by_size)
    a = replace(whole, value=fit.a, se=fit.se_a)
    if not a.second_error:
        return "", FitErrors(by_size)
    return f"a {a.second_error} {OVER_UPDATES}", FitErrors(by_size, a.se_total)
