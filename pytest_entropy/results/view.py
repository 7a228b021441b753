"""An experiment as its directory tells it: everything reports are made from, with nothing recomputed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pytest_entropy.errors import UsageError
from pytest_entropy.kinds import kind_of
from pytest_entropy.results.files import read_json
from pytest_entropy.results.naming import read_manifest
from pytest_entropy.results.store import ERROR, RESULTS


@dataclass(frozen=True)
class ExperimentView:
    """One experiment directory.

    ``runs`` are the contents of ``results.json`` with ``directory`` (its name) added, ordered by (B_E, run);
    ``failures`` the error texts by run directory; ``checks`` the outcomes by name.
    """

    directory: Path
    manifest: dict[str, Any]
    runs: list[dict[str, Any]]
    failures: dict[str, str]
    checks: dict[str, dict[str, Any]]
    analysis: dict[str, Any]
    update: dict[str, Any]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return str(self.manifest["experiment"])

    @property
    def missing(self) -> list[str]:
        """Planned runs that left neither a result nor an error."""
        there = {run["directory"] for run in self.runs} | set(self.failures)
        return [name for name in self.manifest.get("planned_runs", []) if name not in there]

    @property
    def red(self) -> list[str]:
        """Names of the checks that failed."""
        return [name for name, check in self.checks.items() if check["verdict"] == "fail"]

    @cached_property
    def headline(self) -> str:
        """The verdict in words, for people in a hurry."""
        if self.failures:
            return f"{len(self.failures)} of {len(self.failures) + len(self.runs)} runs failed"
        if self.red:
            return f"FAILED: {', '.join(self.red)}"
        if self.analysis.get("reason"):
            word = str(self.analysis.get("verdict", ""))
            return (
                f"INCONCLUSIVE: {self.analysis['reason']}" if word == "inconclusive" else str(self.analysis["reason"])
            )
        undecided = [name for name, check in self.checks.items() if check["verdict"] == "inconclusive"]
        if undecided:
            return f"INCONCLUSIVE: {', '.join(undecided)}"
        passed = f"{len(self.checks)} checks passed" if self.checks else "no checks"
        return f"{len(self.runs)} runs, {passed}" + (f", {len(self.missing)} runs missing" if self.missing else "")


def view_experiment(directory: Path) -> ExperimentView:
    """Read an experiment directory.

    Raises:
        UsageError: it is not one, or of a newer schema than this version knows.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise UsageError(f"{directory} is not an experiment directory (no readable experiment.json)")
    if manifest.get("schema_version") != 1:
        raise UsageError(f"{directory} has schema version {manifest.get('schema_version')}, this version reads 1")
    runs, failures = [], {}
    for place in sorted(p for p in directory.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if (place / RESULTS).is_file():
            runs.append({**read_json(place / RESULTS), "directory": place.name})
        elif (place / ERROR).is_file():
            failures[place.name] = (place / ERROR).read_text(encoding="utf-8")
    runs.sort(key=lambda run: (run["B_E"], run["run"]))
    checks = [read_json(file) for file in sorted(directory.glob("check_*.json"))]
    return ExperimentView(
        directory=directory,
        manifest=manifest,
        runs=runs,
        failures=failures,
        checks={check["name"]: check for check in checks},
        analysis=_json(directory / kind_of(str(manifest["experiment"])).analysis),
        update=_json(directory / "update" / "update.json"),
        config=_first_config(directory),
    )


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _first_config(directory: Path) -> dict[str, Any]:
    file = next(iter(sorted(directory.glob("*/config.yaml"))), None)
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
