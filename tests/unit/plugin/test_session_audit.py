"""The audit of a session reads each run once for all that reports it, and again where its file has changed."""

from __future__ import annotations

import builtins
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.plugin.session_audit import SessionAudit
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.item import ItemReport
from pytest_entropy.reports.index import write_index
from pytest_entropy.runs.run_files import read_run
from tests.unit.reports.stored import store_experiment


def junit_of(items: list[ItemReport], file: Path) -> Path:
    """A JUnit file with the items' properties, as pytest writes it."""
    cases = [
        f'<testcase classname="t" name="{item.name}"><properties>'
        + "".join(f'<property name="{name}" value="{value}"/>' for name, value in item.to_properties())
        + "</properties></testcase>"
        for item in items
    ]
    file.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return file


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many times the record of each run was opened, by the run's directory."""
    counted: Counter[str] = Counter()
    real = builtins.open

    def counting(file: Any, *args: Any, **more: Any) -> Any:
        path = Path(str(file))
        counted.update([path.parent.name] if path.name == "results.json" else [])
        return real(file, *args, **more)

    monkeypatch.setattr(builtins, "open", counting)
    return counted


def test_each_run_is_read_once_and_again_if_it_has_changed(tmp_path: Path, read: Counter[str]) -> None:
    directory = store_experiment(tmp_path)
    runs = [read_run(file.parent) for file in sorted(directory.glob("*/results.json"))]
    items = [
        replace(
            ItemReport.of_run(run, stored=True),
            experiment="batch_scaling",
            directory=str(directory),
            nodeid=f"t.py::test_run[BE{run.B_E:03d}-run{run.run:03d}]",
        )
        for run in runs
    ]
    audit = SessionAudit(items, {item.nodeid: item.to_properties() for item in items})
    audit.look_before(directory)
    view = write_reports(directory)
    read.clear()
    audit.experiment(view)
    audit.index(write_index(tmp_path, "1", [view]), [view])
    junit = junit_of(items, tmp_path / "junit.xml")
    assert audit.found + audit.junit(junit) == []
    assert read == {run.directory: 1 for run in runs}
    file = directory / "BE008_run001" / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"delta_h1": 0.25}))
    (line,) = audit.junit(junit)
    assert "delta_h1 of B_E 8 run 1" in line
    assert read["BE008_run001"] == 2
