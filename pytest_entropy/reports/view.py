"""Read an experiment's directory as a view, from which all reports are made without recomputing anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pytest_entropy.errors import UsageError
from pytest_entropy.records.collection import uncollected
from pytest_entropy.records.comparison import Comparison
from pytest_entropy.records.conclusion import Conclusion
from pytest_entropy.records.error_text import reason_in
from pytest_entropy.records.experiment import SCHEMA_VERSION, ExperimentRecord
from pytest_entropy.records.failed_items import failed_items
from pytest_entropy.records.files import read_json, state_of
from pytest_entropy.records.paths import (
    CHECKS,
    COMPARISON,
    CONCLUSION,
    CONFIG,
    ERROR,
    PLUGIN_ANALYSES,
    RESULTS,
    ROLLOUTS,
    UPDATE,
    UPDATE_RECORD,
)
from pytest_entropy.records.results_directory import read_manifest
from pytest_entropy.records.rollouts import ExtremeRollouts
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import StoredUpdate, UpdateRecord
from pytest_entropy.reports.undecided import undecided_in_words
from pytest_entropy.settings.experiments import kind_of
from pytest_entropy.settings.yaml_file import read_yaml
from pytest_entropy.stats import CheckOutcome
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE, OVER_BATCHES

T = TypeVar("T")
DEFAULT_UNIT = "nats per response"


@dataclass(frozen=True)
class ExperimentView:
    """The contents of one experiment directory.

    Attributes:
        directory: its path.
        manifest: the experiment's identity and its planned runs.
        runs: stored runs ordered by (B_E, run), without the fields that only checks need, so that ten thousand of them
            fit into memory.
        failures: error texts by run directory, that of the update batch included.
        checks: outcomes by name.
        analysis: the record of the experiment's analysis, plain values; empty if there is none.
        update: the update batch that all runs share; None where each run has its own, or where it was not sampled.
        config: the configuration of the runs, plain values.
        conclusion: verdict and reason of the analysis.
        comparison: the comparison with a baseline.
        plugin_analyses: other plugins' answers by plugin name, plain values.
        failed_items: reasons of failed tests by name.
        rollouts: the prompts with the lowest and highest s_n of the first run at the largest B_E; None if not stored.
    """

    directory: Path
    manifest: ExperimentRecord
    runs: list[RunRecord]
    failures: dict[str, str]
    checks: dict[str, CheckOutcome]
    analysis: dict[str, Any]
    update: StoredUpdate | None
    config: dict[str, Any]
    conclusion: Conclusion | None
    comparison: Comparison | None
    plugin_analyses: dict[str, object]
    failed_items: dict[str, str]
    rollouts: ExtremeRollouts | None = None

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.manifest.experiment

    @property
    def analysis_file(self) -> str:
        """Name of the file that holds ``analysis``."""
        return kind_of(self.name).analysis

    @property
    def unit(self) -> str:
        """The unit of delta_h1."""
        return self.runs[0].unit if self.runs else DEFAULT_UNIT

    @property
    def scope(self) -> str:
        """The scope of the runs' standard errors: over entropy batches for this update batch, or over whole batches."""
        single = bool(self.runs) and self.runs[0].mode == "u_statistic"
        return OVER_BATCHES if single else FOR_THIS_UPDATE

    @property
    def failed_runs(self) -> list[str]:
        """Directory names of runs with an error; the update batch, which may have one, too, is not a run."""
        return sorted(set(self.failures) - {UPDATE})

    @property
    def missing(self) -> list[str]:
        """Planned runs that left neither a result nor an error."""
        present = {run.directory for run in self.runs} | set(self.failures)
        return [name for name in self.manifest.planned_runs if name not in present]

    @property
    def still(self) -> UpdateRecord | None:
        """The first update whose rewards are equal in every group, which moves no parameter; None if there is none."""
        # In mode u_statistic each run has its own update.
        updates = (self.update, *(run.update for run in self.runs))
        return next((update for update in updates if update is not None and update.sample), None)

    @property
    def red(self) -> list[str]:
        """Names of the checks that failed."""
        return [name for name, check in self.checks.items() if check.verdict == "fail"]

    @property
    def undecided(self) -> list[str]:
        """Names of the checks that were inconclusive."""
        return [name for name, check in self.checks.items() if check.verdict == "inconclusive"]

    @property
    def changed(self) -> list[str]:
        """Quantities that differ from the baseline by more than their tolerance."""
        return self.comparison.with_verdict("fail") if self.comparison else []

    @property
    def unsure(self) -> list[str]:
        """Quantities whose comparison with the baseline was inconclusive."""
        return self.comparison.with_verdict("inconclusive") if self.comparison else []

    @property
    def not_compared(self) -> str:
        """Why nothing was compared with the baseline; empty where it was compared, or no comparison was requested."""
        return (self.comparison and self.comparison.missing) or ""

    @property
    def baseline(self) -> str:
        """The name of the baseline; empty without a comparison."""
        return self.comparison.baseline if self.comparison else ""

    @property
    def verdict(self) -> str | None:
        """The verdict of the experiment's analysis, None without an analysis."""
        return self.conclusion.verdict if self.conclusion else self.analysis.get("verdict")

    @property
    def reason(self) -> str:
        """The reason of that verdict; empty if none was given."""
        return str((self.conclusion.reason if self.conclusion else self.analysis.get("reason")) or "")

    @property
    def tone(self) -> Literal["pass", "fail", "inconclusive"]:
        """The outcome of the whole experiment in one word."""
        if self.failures or self.red or self.changed or self.failed_items:
            return "fail"
        open_questions = self.undecided or self.missing or self.unsure or self.not_compared
        return "inconclusive" if open_questions else "pass"

    @cached_property
    def headline(self) -> str:
        """The outcome of the whole experiment in one line."""
        done = len(self.runs)
        if self.failures:
            return f"FAILED: {self._failed_in_words(done)}"
        if self.red:
            rejected = [f"{name} (rejected: {self.checks[name].null})" for name in self.red]
            return f"FAILED: {', '.join(rejected)}"
        if self.changed:
            return f"FAILED: {', '.join(self.changed)} changed against the baseline {self.baseline}"
        if self.failed_items:
            return f"FAILED: {'; '.join(f'{name}: {reason}' for name, reason in self.failed_items.items())}"
        if self.missing:
            return f"INCOMPLETE: {len(self.missing)} of {done + len(self.missing)} planned runs are missing"
        if self.undecided:
            return f"INCONCLUSIVE: {self.reason or '; '.join(map(self._undecided_in_words, self.undecided))}"
        if self.not_compared:
            return f"NOT COMPARED: {self.not_compared}; {self._passed(self.reason)}"
        if self.unsure:
            return (
                f"INCONCLUSIVE against the baseline {self.baseline}: {', '.join(self.unsure)}; "
                f"{self._passed(self.reason)}"
            )
        return self._passed(self.reason)

    def _failed_in_words(self, done: int) -> str:
        """The number of failed runs, and the reason of the first."""
        n = len(self.failed_runs)
        # A failed update batch makes all runs fail, so its error is the reason.
        first = UPDATE if UPDATE in self.failures else self.failed_runs[0]
        reason = (reason_in(self.failures[first]).strip().splitlines() or ["no message"])[0]
        what = f"{n} of {done + n} runs gave no result" if n else "the update batch gave no result"
        return f"{what}: {reason if len(reason) <= 200 else reason[:199] + '…'}"

    def _passed(self, reason: str) -> str:
        n = len(self.checks)
        passed = f"{n} check{'s' * (n != 1)} passed" if n else "no checks"
        runs = f"{len(self.runs)} run{'s' * (len(self.runs) != 1)}"
        return f"{reason or runs}; {passed}" if n or not reason else reason

    def _undecided_in_words(self, name: str) -> str:
        return f"{name}: {undecided_in_words(self.checks[name].message())}"


def view_experiment(directory: Path) -> ExperimentView:
    """Read an experiment directory; a run whose result cannot be read becomes one of the failures.

    Raises:
        UsageError: it is not an experiment directory, has another schema version, or holds a file without the record
            that its name promises.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise UsageError(f"{directory} is not an experiment directory (no readable experiment.json)")
    if manifest.schema_version != SCHEMA_VERSION:
        raise UsageError(
            f"{directory} has schema version {manifest.schema_version}, this version reads {SCHEMA_VERSION}"
        )
    runs, failures = _runs(directory)
    checks = [_read(file, "the outcome of a check", CheckOutcome.from_dict) for file in sorted(directory.glob(CHECKS))]
    return ExperimentView(
        directory=directory,
        manifest=manifest,
        runs=runs,
        failures=failures,
        checks={check.name: check for check in checks if check is not None},
        analysis=_mapping(directory / kind_of(manifest.experiment).analysis),
        update=_read(directory / UPDATE / UPDATE_RECORD, "an update batch", StoredUpdate.from_dict),
        config=_first_config(directory),
        conclusion=_read(directory / CONCLUSION, "a conclusion", Conclusion.from_dict),
        comparison=_read(directory / COMPARISON, "a comparison", Comparison.from_dict),
        plugin_analyses=_mapping(directory / PLUGIN_ANALYSES),
        failed_items=failed_items(directory),
        rollouts=_rollouts(directory, runs),
    )


def _rollouts(directory: Path, runs: Sequence[RunRecord]) -> ExtremeRollouts | None:
    """The rollouts of the first run at the largest B_E that has some."""
    files = [directory / run.directory / ROLLOUTS for run in reversed(runs) if run.run == 1]
    return next((_read(file, "a run's rollouts", ExtremeRollouts.from_dict) for file in files if file.is_file()), None)


@uncollected()
def _runs(directory: Path) -> tuple[list[RunRecord], dict[str, str]]:
    """The stored runs of an experiment, and the error texts of failed ones by directory."""
    runs, failures = [], {}
    for name in sorted(name for name in os.listdir(directory) if not name.startswith(".")):
        place = os.path.join(directory, name)
        results, error_text = os.path.join(place, RESULTS), os.path.join(place, ERROR)
        if state_of(results) is not None:
            try:
                with open(results, "rb") as stream:
                    runs.append(RunRecord.from_json(stream.read(), directory=name).slim())
            except (OSError, ValueError, OverflowError) as error:
                failures[name] = f"{name}/{RESULTS} cannot be read: {type(error).__name__}: {error}\n"
        elif state_of(error_text) is not None:
            failures[name] = Path(error_text).read_text(encoding="utf-8", errors="replace")
    return sorted(runs, key=lambda run: (run.B_E, run.run)), failures


def _mapping(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no file."""
    try:
        record = read_json(path) if path.is_file() else {}
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise UsageError(f"{path} holds {type(record).__name__}, expected keys and values")
    return record


def _read(path: Path, what: str, of: Callable[[Any], T]) -> T | None:
    """The record in a file, None if the file is missing or holds an empty object."""
    content = _mapping(path)
    try:
        return of(content) if content else None
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not {what}: {type(error).__name__}: {error}") from error


def _first_config(directory: Path) -> dict[str, Any]:
    """The configuration in the first run directory that has one; all runs have the same."""
    files = (os.path.join(directory, name, CONFIG) for name in sorted(os.listdir(directory)))
    file = next((file for file in files if os.path.exists(file)), None)
    return read_yaml(Path(file))[0] if file else {}
