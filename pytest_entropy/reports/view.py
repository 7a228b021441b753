"""Read an experiment's directory as a view, from which all reports are made without recomputing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pytest_entropy.errors import UsageError
from pytest_entropy.records.attempts import earlier_reasons
from pytest_entropy.records.comparison import Comparison
from pytest_entropy.records.conclusion import Conclusion
from pytest_entropy.records.error_text import sentence_in
from pytest_entropy.records.experiment import SCHEMA_VERSION, ExperimentRecord
from pytest_entropy.records.failed_items import failed_items
from pytest_entropy.records.paths import (
    CHECKS,
    COMPARISON,
    CONCLUSION,
    PLUGIN_ANALYSES,
    ROLLOUTS,
    TARGET_ERROR,
    UPDATE,
    UPDATE_RECORD,
    is_update_directory,
)
from pytest_entropy.records.results_directory import read_manifest
from pytest_entropy.records.rollouts import ExtremeRollouts
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.target_error import TargetRecord
from pytest_entropy.records.update import StillTerm, StoredUpdate, UpdateRecord
from pytest_entropy.reports.gate_reason import gate_reason
from pytest_entropy.reports.reading import first_config, mapping_in, record_in, runs_in
from pytest_entropy.reports.trust import trust_in_words
from pytest_entropy.reports.undecided import remedy, undecided_in_words
from pytest_entropy.settings.experiments import kind_of
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
        earlier_errors: reasons of earlier attempts, oldest first, by directory of what took more than one.
        target: the runs that a target of the error took; None without one.
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
    earlier_errors: dict[str, list[str]] = field(default_factory=dict)
    rollouts: ExtremeRollouts | None = None
    target: TargetRecord | None = None

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
        return sorted(name for name in self.failures if not is_update_directory(name))

    @property
    def attempts(self) -> dict[str, int]:
        """Numbers of attempts by directory, where they are more than one."""
        return {name: 1 + len(errors) for name, errors in self.earlier_errors.items()}

    @property
    def missing(self) -> list[str]:
        """Planned runs that left neither a result nor an error, and were needed."""
        present = {run.directory for run in self.runs} | set(self.failures)
        present |= set(self.target.not_needed) if self.target is not None else set()
        return [name for name in self.manifest.planned_runs if name not in present]

    @property
    def still(self) -> UpdateRecord | None:
        """The first update whose rewards are equal in every group, which moves no parameter; None if there is none."""
        # In mode u_statistic each run has its own update.
        updates = (self.update, *(run.update for run in self.runs))
        return next((update for update in updates if update is not None and update.sample), None)

    @property
    def still_terms(self) -> list[StillTerm]:
        """Rewards of a weighted sum that are equal in every group, of the first update that has any."""
        updates = (self.update, *(run.update for run in self.runs))
        return next((update.still_terms for update in updates if update is not None and update.still_terms), [])

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
        """Why nothing was compared with the baseline; empty where it was, or where no comparison was requested."""
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
    def trust(self) -> str:
        """Whether the probe can be trusted on this checkpoint, in a sentence; empty for experiments that do not ask."""
        return trust_in_words(self.checks, bool(self.failures)) if kind_of(self.name).judges_trust else ""

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
        if self.failures:
            return f"FAILED: {self._failed_in_words(len(self.runs))}"
        if self.red:
            rejected = [f"{name} (rejected: {self.checks[name].null})" for name in self.red]
            return "; ".join(filter(None, (f"FAILED: {', '.join(rejected)}", self._against_baseline)))
        if self.changed:
            return f"FAILED {self._against_baseline}"
        if self.failed_items:
            return f"FAILED: {'; '.join(f'{name}: {reason}' for name, reason in self.failed_items.items())}"
        if self.missing:
            planned = len(self.runs) + len(self.missing)
            return f"INCOMPLETE: {len(self.missing)} of {planned} planned runs are missing"
        if self.undecided:
            reason = self.trust or self.reason or "; ".join(map(self._undecided_in_words, self.undecided))
            return "; ".join(filter(None, (f"INCONCLUSIVE: {reason}", self._against_baseline)))
        if self.not_compared:
            return f"NOT COMPARED: {self.not_compared}; {self._passed(self.reason)}"
        if self.unsure:
            return f"INCONCLUSIVE {self._against_baseline}; {self._passed(self.reason)}"
        return self._passed(self.reason)

    @property
    def _against_baseline(self) -> str:
        """The regression gate's reason, unless all is unchanged or nothing was compared: then empty."""
        if self.comparison is None or not (self.changed or self.unsure):
            return ""
        return f"against the baseline {self.baseline}: {gate_reason(self.comparison)}"

    def _failed_in_words(self, done: int) -> str:
        """The number of failed runs, and the reason of the first."""
        n = len(self.failed_runs)
        # A failed update batch makes all runs fail, so its error is the reason.
        first = min(self.failures, key=lambda name: (not is_update_directory(name), name))
        reason = sentence_in(self.failures[first])
        what = f"{n} of {done + n} runs gave no result" if n else "the update batch gave no result"
        return f"{what}: {reason if len(reason) <= 200 else reason[:199] + '…'}"

    def _passed(self, reason: str) -> str:
        if self.trust:
            return "; ".join(filter(None, (self.trust, reason)))
        n = len(self.checks)
        if reason and not n:
            return reason
        passed = f"{n} check{'s' * (n != 1)} passed" if n else "no checks"
        return f"{reason or f'{len(self.runs)} run' + 's' * (len(self.runs) != 1)}; {passed}"

    def _undecided_in_words(self, name: str) -> str:
        return f"{name}: {undecided_in_words(self.checks[name].message(), self.remedy(name))}"

    def remedy(self, check: str) -> str:
        """The option that would let a check decide; empty where it does not say how many prompts it takes."""
        outcome, batch = self.checks.get(check), self.config.get("batch_config")
        return remedy(kind_of(self.name), batch, outcome) if outcome and batch else ""


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
    runs, failures = runs_in(directory)
    config = first_config(directory)
    checks = [
        record_in(file, "the outcome of a check", CheckOutcome.from_dict) for file in sorted(directory.glob(CHECKS))
    ]
    return ExperimentView(
        directory=directory,
        manifest=manifest,
        runs=runs,
        failures=failures,
        checks={check.name: check for check in checks if check is not None},
        analysis=mapping_in(directory / kind_of(manifest.experiment).analysis),
        update=record_in(directory / UPDATE / UPDATE_RECORD, "an update batch", StoredUpdate.from_dict),
        config=config,
        conclusion=record_in(directory / CONCLUSION, "a conclusion", Conclusion.from_dict),
        comparison=record_in(directory / COMPARISON, "a comparison", Comparison.from_dict),
        plugin_analyses=mapping_in(directory / PLUGIN_ANALYSES),
        failed_items=failed_items(directory),
        earlier_errors=earlier_reasons(directory),
        rollouts=_rollouts(directory, runs),
        target=_target(directory, config),
    )


def _target(directory: Path, config: dict[str, Any]) -> TargetRecord | None:
    """The record of the runs that a target took, where the runs were taken to one."""
    if config.get("batch_config", {}).get("target_se") is None:
        return None
    return record_in(directory / TARGET_ERROR, "the record of a target", TargetRecord.from_dict)


def _rollouts(directory: Path, runs: Sequence[RunRecord]) -> ExtremeRollouts | None:
    """The rollouts of the first run at the largest B_E that has some."""
    files = [directory / run.directory / ROLLOUTS for run in reversed(runs) if run.run == 1]
    return next(
        (record_in(file, "a run's rollouts", ExtremeRollouts.from_dict) for file in files if file.is_file()), None
    )
