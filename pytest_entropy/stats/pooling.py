"""The mean of several runs' measurements, and the update batch's part of the variance that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from pytest_entropy.stats.measurement import MeasuredRun, Measurement


def measurements(runs: Sequence[MeasuredRun]) -> list[Measurement]:
    """The measurements of one experiment's runs, each with the error over update batches where any run has one.

    The update batch's part B of the variance is the same for all of them, so that a run that did not estimate it takes
    the others' mean, weighted by their prompts: T, which is taken out of it, shrinks with B_E.

    Args:
        runs: of one experiment.
    """
    found = [Measurement.of(run) for run in runs]
    known = [(one.prompts, one.update_part) for one in found if one.update_part is not None]
    if not known or len(found) == 1:
        return found
    part = mean_update_part(known)
    return [
        one if one.single_batch or one.se is None else replace(one, update_part=part, note="", largest_part=None)
        for one in found
    ]


def mean_update_part(parts: Sequence[tuple[int, float]]) -> float:
    """The mean of runs' estimates of the update batch's part B, weighted by their prompts.

    >>> mean_update_part([(8, 5.0), (24, 1.0)])
    2.0

    Args:
        parts: (B_E, estimate) of each run that has one, at least one.
    """
    return math.fsum(n * b for n, b in parts) / sum(n for n, _ in parts)


def pool(runs: Sequence[Measurement]) -> Measurement:
    """The mean of independent runs along one update batch, or several, with both its errors.

    With A, B and T as in docs/mathematics.md §4, the mean of R runs has the variance A/R + B + T/R: the entropy
    batches' part shrinks with R and the update batch's does not; along K update batches it is B/K.  sum V_X / R^2
    estimates (A + T)/R, and the mean of V_Y - T over the runs that have it estimates B, both without bias.  Runs of a
    single batch draw their own update each, so that their whole variance shrinks.

    Runs that each draw the share f of one set of prompts share prompts, and the differences between those prompts do
    not average out: ``se`` is then an upper bound, the root of (1 - f)/R + f times a run's variance.

    >>> mean = pool([Measurement(1.0, 0.2, 32), Measurement(2.0, 0.2, 32)])
    >>> mean.value, round(mean.se, 4), mean.prompts
    (1.5, 0.1414, 64)

    Raises:
        ValueError: there are no runs, or runs of both modes.
    """
    if len({run.single_batch for run in runs}) != 1:
        raise ValueError("a mean over runs needs at least one run, and all of them in one probe.mode")
    if len(runs) == 1:
        return runs[0]
    parts = [run.update_part for run in runs if run.update_part is not None]
    errors = [run.se for run in runs if run.se is not None]
    fraction = max(run.sampling_fraction for run in runs)
    mean = Measurement(
        value=fmean(run.value for run in runs),
        se=_se_of_mean(errors, fraction) if len(errors) == len(runs) else None,
        prompts=sum(run.prompts for run in runs),
        update_part=fmean(parts) if parts else None,
        single_batch=runs[0].single_batch,
        update_prompts=runs[0].update_prompts,
        sampling_fraction=fraction,
        updates=len({run.update for run in runs}),
        update_error=max((run.update_error for run in runs if run.update_error is not None), default=None),
        update_skew=next((run.update_skew for run in runs if run.update_skew is not None), None),
    )
    return replace(mean, note=_note(mean.variance_total, runs))


def _se_of_mean(errors: Sequence[float], fraction: float) -> float:
    """Standard error of the mean of runs with these ``errors``, each a ``fraction`` of one set of prompts."""
    variance = math.fsum(error**2 for error in errors) / len(errors)
    return math.sqrt(variance * ((1 - fraction) / len(errors) + fraction))


def _note(variance: float | None, runs: Sequence[Measurement]) -> str:
    """Why there is no error over update batches; empty where there is one, or where none was asked for."""
    return "" if variance is not None else next((run.note for run in runs if run.note), "")
