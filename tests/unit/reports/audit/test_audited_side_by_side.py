"""The audit of debugging's tables and figures: silent on what is written, and naming what is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checks.summaries.debug import debug_report
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.files import write_json
from pytest_entropy.records.serialization import plain
from pytest_entropy.reports.audit.experiment import audit
from pytest_entropy.reports.audit.stored_run import look_before
from pytest_entropy.reports.figures import estimators
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.runs.run_files import read_run
from tests.unit.reports.stored import store_experiment


@pytest.fixture
def debug(tmp_path: Path) -> Path:
    """Two runs with a second estimator, companion reads and the parts of the variance, and debugging's analysis."""
    directory = store_experiment(tmp_path, name="debug", sizes=(16, 32), runs=1)
    for file in sorted(directory.glob("debug_*/results.json")):
        record = json.loads(file.read_text())
        s, v_x = record["per_prompt"], record["variance_conditional"]
        parts = {"entropy_batch": v_x, "update_batch": 3 * v_x, "interaction": 0.5 * v_x}
        total = 3.5 * v_x
        record |= {"variance_parts": parts, "variance_total": total, "se_total": total**0.5}
        record["diagnostics"] = {"reinforce_loo": [1.1 * one for one in s[::-1]], "score": s[::-1]}
        reads: dict[str, Any] = {"count": 2, "own": [0.5] * len(s), "mean": [2.0 + n for n in range(len(s))]}
        record["diagnostics"][record["estimator"]] = [
            one + own - mean for one, own, mean in zip(s, reads["own"], reads["mean"], strict=True)
        ]
        record["companions"] = reads
        file.write_text(json.dumps(record))
    runs = [read_run(file.parent) for file in sorted(directory.glob("debug_*/results.json"))]
    write_json(directory / "debug_report.json", plain(debug_report(runs, confidence=0.95, tolerance=0.1)))
    return directory


def audited(directory: Path, old: str = "", new: str = "") -> list[str]:
    before = look_before(directory)
    write_reports(directory)
    page = directory / "report.html"
    text = page.read_text(encoding="utf-8")
    assert old in text
    page.write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
    return audit(directory, before)


def test_what_is_written_agrees_with_the_runs(debug: Path) -> None:
    assert audited(debug) == []
    page = (debug / "report.html").read_text()
    for part in ("Estimators side by side", "Parts of the variance", ">V_X<", ">reinforce_loo<", "B_E 32 run 1"):
        assert part in page


def test_a_changed_cell_is_named(debug: Path) -> None:
    cell = '<td data-of="estimator">reinforce_loo</td><td data-of="B_E 16 run 1">-'
    found = audited(debug, cell, cell[:-1])
    assert any("estimator reinforce_loo of B_E 16 run 1 is 0" in line for line in found), found
    cell = '<td data-of="variance">V_Y</td><td data-of="B_E 16 run 1">'
    found = audited(debug, cell, f"{cell}9")
    assert any("V_Y of B_E 16 run 1 is 9" in line for line in found), found


def test_points_and_bars_drawn_elsewhere_are_named(debug: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = estimators.estimators_of

    def of_one(view: ExperimentView) -> Any:
        runs = list(real(view).items())
        return {label: runs[0][1] for label, _ in runs}

    monkeypatch.setattr(estimators, "estimators_of", of_one)
    found = audited(debug)
    assert any("an estimator of B_E 32 run 1 is" in line for line in found), found
    monkeypatch.undo()
    parts = estimators.variance_parts_of
    monkeypatch.setattr(
        estimators, "variance_parts_of", lambda runs: {k: {**v, "V_X": 2 * v["V_X"]} for k, v in parts(runs).items()}
    )
    found = audited(debug)
    assert any("V_X of B_E 16 run 1 is" in line for line in found), found


def test_scalars_that_do_not_follow_from_their_reads_are_named(debug: Path) -> None:
    file = next(iter(sorted(debug.glob("debug_*/results.json"))))
    record = json.loads(file.read_text())
    record["companions"]["own"][3] += 0.25
    file.write_text(json.dumps(record))
    found = audited(debug)
    assert any("per_prompt 3" in line and "its scalar and its reads give" in line for line in found), found
    record["companions"]["own"].pop()
    file.write_text(json.dumps(record))
    assert any("15 reads" in line for line in audited(debug))
