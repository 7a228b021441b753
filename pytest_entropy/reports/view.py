"""An experiment as its directory tells it: everything reports are made from, with nothing recomputed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pytest_entropy.errors import UsageError
from pytest_entropy.records.error_text import reason_in
from pytest_entropy.records.failed_items import failed_items
from pytest_entropy.records.files import read_json
from pytest_entropy.records.paths import ERROR, RESULTS, read_manifest
from pytest_entropy.reports.terminal import undecided_in_words
from pytest_entropy.settings.experiments import kind_of
from pytest_entropy.settings.yaml_file import read_yaml
from pytest_entropy.stats import CheckOutcome
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE, OVER_BATCHES

DEFAULT_UNIT = "nats per response"
CONCLUSION = "conclusion.json"
COMPARISON = "comparison.json"
UPDATE = "update"
PLUGIN_ANALYSES = "plugin_analyses.json"
# What every run's result has, beside words.
_NUMBERS = (
    "B_E", "run", "seed", "delta_h1", "variance_conditional", "eta", "entropy_mean", "length_mean", "peak_memory_mb",
)  # fmt: skip
_NUMBERS_OR_NONE = ("se_conditional", "entropy_se")
# What results of other versions or settings may lack.
_NUMBERS_IF_THERE = ("se_total", "variance_total")


@dataclass(frozen=True)
class ExperimentView:
    """One experiment directory.

    ``runs`` are the contents of ``results.json``, ordered by (B_E, run), with ``directory`` (its name) added,
    ``per_prompt`` as an array ``[B_E]``, and without what only analyses need (``update``, ``diagnostics``), so that
    ten thousand of them fit into memory.  ``failures`` are the error texts by run directory, ``checks`` the outcomes
    by name, ``conclusion`` verdict and reason of the analysis, ``comparison`` that with a baseline,
    ``plugin_analyses`` other plugins' answers by their names, ``failed_items`` why tests failed, by name.
    """

    directory: Path
    manifest: dict[str, Any]
    runs: list[dict[str, Any]]
    failures: dict[str, str]
    checks: dict[str, dict[str, Any]]
    analysis: dict[str, Any]
    update: dict[str, Any]
    config: dict[str, Any]
    conclusion: dict[str, Any]
    comparison: dict[str, Any]
    plugin_analyses: dict[str, Any]
    failed_items: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return str(self.manifest["experiment"])

    @property
    def analysis_file(self) -> str:
        """Name of the file ``analysis`` comes from."""
        return kind_of(self.name).analysis

    @property
    def unit(self) -> str:
        """The unit of delta_h1."""
        return str(self.runs[0].get("unit", DEFAULT_UNIT)) if self.runs else DEFAULT_UNIT

    @property
    def scope(self) -> str:
        """What the runs' standard errors are over: their own update batch, or whole batches."""
        single = bool(self.runs) and self.runs[0].get("mode") == "u_statistic"
        return OVER_BATCHES if single else FOR_THIS_UPDATE

    @property
    def failed_runs(self) -> list[str]:
        """Runs with an error; the update batch, which may have one, too, is none."""
        return sorted(set(self.failures) - {UPDATE})

    @property
    def missing(self) -> list[str]:
        """Planned runs that left neither a result nor an error."""
        there = {run["directory"] for run in self.runs} | set(self.failures)
        return [name for name in self.manifest.get("planned_runs", []) if name not in there]

    @property
    def still(self) -> dict[str, Any]:
        """Of an update that moves nothing: ``sample`` and ``rewards``; empty if none is known."""
        return next((record for record in (self.update, *self.runs) if record.get("sample")), {})

    @property
    def red(self) -> list[str]:
        """Names of the checks that failed."""
        return [name for name, check in self.checks.items() if check["verdict"] == "fail"]

    @property
    def undecided(self) -> list[str]:
        """Names of the checks the sample could not decide."""
        return [name for name, check in self.checks.items() if check["verdict"] == "inconclusive"]

    @property
    def changed(self) -> list[str]:
        """Quantities that differ from the baseline by more than their tolerance."""
        rows = self.comparison.get("quantities", [])
        return [str(row["quantity"]) for row in rows if row["outcome"]["verdict"] == "fail"]

    @property
    def unsure(self) -> list[str]:
        """Quantities whose comparison with the baseline could not be decided."""
        rows = self.comparison.get("quantities", [])
        return [str(row["quantity"]) for row in rows if row["outcome"]["verdict"] == "inconclusive"]

    @property
    def tone(self) -> Literal["pass", "fail", "inconclusive"]:
        """The verdict in one word."""
        if self.failures or self.red or self.changed or self.failed_items:
            return "fail"
        open_questions = self.undecided or self.missing or self.unsure or self.comparison.get("missing")
        return "inconclusive" if open_questions else "pass"

    @cached_property
    def headline(self) -> str:
        """The verdict in words, for people in a hurry."""
        done = len(self.runs)
        if self.failures:
            return f"FAILED: {self._failed_in_words(done)}"
        if self.red:
            rejected = [f"{name} (rejected: {self.checks[name]['null']})" for name in self.red]
            return f"FAILED: {', '.join(rejected)}"
        if self.changed:
            return f"FAILED: {', '.join(self.changed)} changed against the baseline {self.comparison['baseline']}"
        if self.failed_items:
            return f"FAILED: {'; '.join(f'{name}: {reason}' for name, reason in self.failed_items.items())}"
        if self.missing:
            return f"INCOMPLETE: {len(self.missing)} of {done + len(self.missing)} planned runs are missing"
        reason = str((self.conclusion or self.analysis).get("reason") or "")
        if self.undecided:
            return f"INCONCLUSIVE: {reason or '; '.join(map(self._undecided_in_words, self.undecided))}"
        if self.comparison.get("missing"):
            return f"NOT COMPARED: {self.comparison['missing']}; {self._passed(reason)}"
        if self.unsure:
            return (
                f"INCONCLUSIVE against the baseline {self.comparison['baseline']}: {', '.join(self.unsure)}; "
                f"{self._passed(reason)}"
            )
        return self._passed(reason)

    def _failed_in_words(self, done: int) -> str:
        n = len(self.failed_runs)
        # Without an update batch no run can be: then its error is the one that counts.
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
        return f"{name}: {undecided_in_words(CheckOutcome.from_dict(self.checks[name]).message())}"


def view_experiment(directory: Path) -> ExperimentView:
    """Read an experiment directory.

    Raises:
        UsageError: it is not one, of a newer schema than this version knows, or holds a file that is not what its
            name says.  A run whose result cannot be read is one of the failures.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise UsageError(f"{directory} is not an experiment directory (no readable experiment.json)")
    if manifest.get("schema_version") != 1:
        raise UsageError(f"{directory} has schema version {manifest.get('schema_version')}, this version reads 1")
    runs, failures = [], {}
    for place in sorted(p for p in directory.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if (place / RESULTS).is_file():
            try:
                runs.append(_slim(read_json(place / RESULTS), place.name))
            except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                failures[place.name] = f"{place.name}/{RESULTS} cannot be read: {type(error).__name__}: {error}\n"
        elif (place / ERROR).is_file():
            failures[place.name] = (place / ERROR).read_text(encoding="utf-8", errors="replace")
    runs.sort(key=lambda run: (run["B_E"], run["run"]))
    checks = [_check(file) for file in sorted(directory.glob("check_*.json"))]
    return ExperimentView(
        directory=directory,
        manifest=manifest,
        runs=runs,
        failures=failures,
        checks={check["name"]: check for check in checks},
        analysis=_json(directory / kind_of(str(manifest["experiment"])).analysis),
        update=_json(directory / UPDATE / "update.json"),
        config=_first_config(directory),
        conclusion=_json(directory / CONCLUSION),
        comparison=_comparison(directory / COMPARISON),
        plugin_analyses=_json(directory / PLUGIN_ANALYSES),
        failed_items=failed_items(directory),
    )


def _slim(run: dict[str, Any], directory: str) -> dict[str, Any]:
    kept = {key: value for key, value in run.items() if key not in ("update", "diagnostics")}
    numbers = [*(kept[name] for name in _NUMBERS), *kept["seconds"].values()]
    numbers += [kept[name] for name in _NUMBERS_OR_NONE if kept[name] is not None]
    numbers += [kept[name] for name in _NUMBERS_IF_THERE if kept.get(name) is not None]
    per_prompt = np.asarray(run["per_prompt"], dtype=float)
    if not all(map(math.isfinite, numbers)) or not np.isfinite(per_prompt).all():
        raise ValueError("a number that is not finite")
    # A single batch has its own update; of one that moves nothing the report shows a sample.
    update = run.get("update") or {}
    shown = {"sample": update["sample"], "rewards": update.get("rewards")} if update.get("sample") else {}
    return {**kept, **shown, "per_prompt": per_prompt, "directory": directory}


def _json(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path) if path.is_file() else {}
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise UsageError(f"{path} holds {type(record).__name__}, expected keys and values")
    return record


def _check(path: Path) -> dict[str, Any]:
    record = _json(path)
    try:
        CheckOutcome.from_dict(record)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not the outcome of a check: {type(error).__name__}: {error}") from error
    return record


def _comparison(path: Path) -> dict[str, Any]:
    record = _json(path)
    lacking = {"baseline", "quantities"} - record.keys() if record else ()
    if lacking:
        raise UsageError(f"{path} is not a comparison: it lacks {', '.join(sorted(lacking))}")
    return record


def _first_config(directory: Path) -> dict[str, Any]:
    file = next(iter(sorted(directory.glob("*/config.yaml"))), None)
    return read_yaml(file)[0] if file else {}
