"""Which runs a target of the error needs: they are taken in order until their mean has the error that was asked for.

Whether a run is needed depends on the runs before it alone, so that the answer is the same in every worker.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from pytest_entropy.checks.summaries.target_error import OPTION, asked_for, digits, error_after, more_runs
from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.paths import MANIFEST, RESULTS, TARGET_ERROR
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.target_error import TargetRecord
from pytest_entropy.reports.progress import in_words
from pytest_entropy.runs.plan import Plan
from pytest_entropy.runs.store import FailedRun
from pytest_entropy.stats.target_error import ErrorAfter, pilot_runs, runs_needed

log = logging.getLogger(__name__)


class TargetRuns:
    """The runs that one experiment takes; all of the planned ones where no target is configured.

    Args:
        plan: the experiment's plan.
        run: the record of a run by its number, computed if it is not stored.

    Attributes:
        failure: the first failure of a run that another run's decision asked for, until it is told.
    """

    def __init__(self, plan: Plan, run: Callable[[int], RunRecord]) -> None:
        batch = plan.resolved.config.batch_config
        self._plan, self._run = plan, run
        self._target, self._B_E, self._step = batch.target_se, batch.B_E_values[0], batch.updates
        self._most = batch.runs_per_batch * batch.updates
        self._pilot = pilot_runs(self._B_E, self._step)
        self._after: dict[int, ErrorAfter] = {}
        self._written: TargetRecord | None = None
        self._began = False
        self.failure: FailedRun | None = None

    def not_needed(self, run: int) -> str:
        """Why a run is not needed, in words; empty where it is.

        A run that has left a result or an error is needed, whatever the error of the others: it is reported.  So is
        every run after one that failed, which tells nothing of the error.

        Args:
            run: its number.
        """
        if self._target is None or run <= self._pilot or self._has_begun(run):
            return ""
        self._begin()
        group = self._step * math.ceil(run / self._step)
        try:
            taken = runs_needed(self._error_after, self._B_E, step=self._step, most=group)
        except FailedRun as failure:
            self.failure = self.failure or failure
            return ""
        if run <= taken:
            return ""
        self.keep()
        after, runs = self._after[taken], f"{taken} run{'s' * (taken != 1)}"
        asked = asked_for(self._target, after.allowed)
        return f"not needed: the error {digits(after.se)} after {runs} is within {OPTION} {asked}"

    def keep(self) -> None:
        """Write the record of the target beside the runs, once it is reached or all runs are taken.

        Nothing is written without a target, and where a run failed.
        """
        if self._target is None:
            return
        self._begin()
        try:
            needed = runs_needed(self._error_after, self._B_E, step=self._step, most=self._most)
            taken = [n for n in range(1, self._most + 1) if n <= needed or self._has_begun(n)]
            record = self._record([self._run(n) for n in taken])
        except FailedRun as failure:
            self.failure = self.failure or failure
            return
        # Another worker that removes an old record may have met the new one.
        if record != self._written or not (self._plan.directory / TARGET_ERROR).is_file():
            self._plan_as_many()
            write_json(self._plan.directory / TARGET_ERROR, record.to_dict())
            self._written = record

    def pilot_in_words(self) -> str:
        """What the pilot says of the runs that the target takes; empty without a target, and before it is done.

        It computes nothing, and says nothing where the session has no choice: where it decides nothing, and where an
        earlier session has decided.
        """
        if self._target is None or self._pilot >= self._most or not all(map(self._is_stored, self._of_pilot)):
            return ""
        self._begin()
        if (self._plan.directory / TARGET_ERROR).is_file():
            return ""
        return self._forecast(self._error_after(self._pilot))

    def log_pilot(self) -> None:
        """Write what the pilot says into the log of the run that begins, if it was decided by the pilot."""
        if self._pilot in self._after:
            log.info("%s", self._forecast(self._after[self._pilot]))

    @property
    def _of_pilot(self) -> range:
        return range(1, self._pilot + 1)

    def _forecast(self, after: ErrorAfter) -> str:
        predicted, of = after.predicted(self._pilot), f"runs of {self._B_E} prompts"
        seconds = in_words(fmean(_seconds(self._run(n)) for n in self._of_pilot))
        asked = asked_for(str(self._target), after.allowed)
        words = f"pilot of {self._pilot * self._B_E} prompts: error {digits(after.se)} of {asked} asked for"
        if after.reached:
            return f"{words}: reached"
        if math.isinf(predicted):
            return f"{words}; no number of runs reaches it: give {more_runs(after, self._pilot, self._step)}"
        many = f"{words}; about {math.ceil(predicted)} {of}, {seconds} each"
        if predicted > self._most:
            return f"{many}, and at most {self._most} are taken: give {more_runs(after, self._pilot, self._step)}"
        return f"{many}, at most {self._most}"

    def _error_after(self, runs: int) -> ErrorAfter:
        """The error of the mean of the first runs, which are computed if they are not stored."""
        if runs not in self._after:
            records = [self._run(n) for n in range(1, runs + 1)]
            self._after[runs] = error_after(records, str(self._target))
        return self._after[runs]

    def _record(self, runs: Sequence[RunRecord]) -> TargetRecord:
        after, pilot = error_after(runs, str(self._target)), self._after.get(self._pilot)
        predicted = None if pilot is None else pilot.predicted(self._pilot)
        taken = {(run.B_E, run.run) for run in runs}
        others = [self._plan.run_directory(*one) for one in self._plan.runs if one not in taken]
        return TargetRecord(
            target_se=str(self._target),
            allowed=after.allowed,
            se=after.se if math.isfinite(after.se) else None,
            reached=after.reached,
            runs=len(runs),
            most_runs=self._most,
            pilot_runs=self._pilot,
            predicted_runs=predicted if predicted is not None and math.isfinite(predicted) else None,
            seconds_per_run=fmean(map(_seconds, runs)),
            not_needed=others,
        )

    def _begin(self) -> None:
        """Remove the record of an earlier session's target, by which runs that this one needs would not be missing."""
        if self._began:
            return
        self._began = True
        file = self._plan.directory / TARGET_ERROR
        try:
            record = TargetRecord.from_dict(read_json(file))
        except (OSError, ValueError):
            return
        if (record.target_se, record.most_runs) != (self._target, self._most):
            file.unlink(missing_ok=True)

    def _plan_as_many(self) -> None:
        """Let the experiment's manifest list the runs of this plan: an earlier session may have allowed others."""
        file = self._plan.directory / MANIFEST
        manifest = ExperimentRecord.from_dict(read_json(file))
        planned = [self._plan.run_directory(*one) for one in self._plan.runs]
        if manifest.planned_runs != planned:
            write_json(file, replace(manifest, planned_runs=planned).to_dict())

    def _has_begun(self, run: int) -> bool:
        """Whether a run has left a result or an error."""
        return os.path.isdir(self._plan.directory / self._plan.run_directory(self._B_E, run))

    def _is_stored(self, run: int) -> bool:
        return os.path.isfile(self._plan.directory / self._plan.run_directory(self._B_E, run) / RESULTS)


def _seconds(run: RunRecord) -> float:
    return sum(run.seconds.values())
