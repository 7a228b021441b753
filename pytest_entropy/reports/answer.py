"""The answer of a session: one delta_h1 per checkpoint, from all experiments along its update batches together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_entropy.records.diagnostics import VarianceParts
from pytest_entropy.records.run import RunRecord
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import Measurement, measurements
from pytest_entropy.stats.change import change, drift


@dataclass(frozen=True)
class Answer:
    """What all experiments on one checkpoint say together.

    Attributes:
        checkpoint: its directory, or ``demo``.
        experiments: names of the experiments.
        runs: number of their runs.
        measured: the mean delta_h1 of all prompts, with both errors.
        unit: unit of delta_h1.
    """

    checkpoint: str
    experiments: list[str]
    runs: int
    measured: Measurement
    unit: str

    def in_words(self, confidence: float = 0.95) -> str:
        """The answer in a sentence: what the entropy does at the next step and on average, each with its error.

        Args:
            confidence: of the intervals, in (0, 1).
        """
        unit = self.unit.replace(" per ", "/")
        what, known = change(self.measured, unit, confidence=confidence, when=" at the next step")
        of = f"{len(self.experiments)} experiments, {self.runs} runs along one update batch"
        parts = (f"{what}: {known}" if known else what, drift(self.measured, unit, confidence=confidence))
        return f"{'; '.join(filter(None, parts))} ({of})"


def answers(views: Sequence[ExperimentView]) -> list[Answer]:
    """The answer for each checkpoint and unit that more than one experiment has measured along one update batch.

    Args:
        views: a session's experiments.
    """
    groups: dict[tuple[str, str, float | None], list[ExperimentView]] = {}
    for view in views:
        if view.runs and all(run.mode == "two_batch" for run in view.runs):
            updates = {run.update_fingerprint for run in view.runs}
            if len(updates) == 1 and None not in updates:
                groups.setdefault((view.manifest.checkpoint_digest, view.unit, updates.pop()), []).append(view)
    return [_answer(group) for group in groups.values() if len(group) > 1]


def _answer(views: Sequence[ExperimentView]) -> Answer:
    runs = [run for view in views for run in view.runs]
    update = next((view.update for view in views if view.update is not None), None)
    measured = _weighted(runs, update_prompts=None if update is None else len(update.prompts))
    return Answer(views[0].manifest.checkpoint, [view.name for view in views], len(runs), measured, views[0].unit)


def _weighted(runs: Sequence[RunRecord], *, update_prompts: int | None) -> Measurement:
    """The mean of the runs weighted by their prompts, with its errors.

    Runs that each draw a share f of one set of prompts have prompts in common, whose differences do not average out: at
    most f V_X of a run is common to all of them.
    """
    each = measurements(runs)
    prompts = sum(one.prompts for one in each)
    known = [(one, one.se) for one in each if one.se is not None]
    se = None
    if len(known) == len(each):
        own = math.fsum((one.prompts * error / prompts) ** 2 for one, error in known)
        common = math.fsum(one.prompts / prompts * one.sampling_fraction * error**2 for one, error in known)
        se = math.sqrt(own + common)
    parts = [one.update_part for one in each if one.update_part is not None]
    errors = [(e, run.variance_parts) for run in runs if (e := run.variance_parts.standard_error) is not None]
    # U is one batch, so that its part is as uncertain as in the run that knows it best.
    best = min(errors, key=lambda one: one[0])[1] if errors else VarianceParts()
    return replace(
        each[0],
        value=math.fsum(one.prompts * one.value for one in each) / prompts,
        se=se,
        prompts=prompts,
        update_part=parts[0] if parts else None,
        largest_part=None,
        update_prompts=update_prompts,
        update_error=best.standard_error,
        update_skew=best.update_skewness,
        sampling_fraction=max(one.sampling_fraction for one in each),
    )
