"""The page over all sessions: what its rows say, and that it is whole, current and escaped, whoever else writes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pytest_entropy.commands.command_line import main
from pytest_entropy.plugin.session_audit import SessionAudit
from pytest_entropy.plugin.session_end import write_overview, write_reports
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.reports import pages, results_index
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.session_rows import rows_of_page, summarised_change
from pytest_entropy.reports.audit.stored_run import read_stored
from pytest_entropy.reports.index import write_index, write_session_record
from pytest_entropy.reports.results_index import MARK, write_results_index
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.runs.retention import prune
from tests.present import present
from tests.unit.plugin.test_session_end import outcome
from tests.unit.reports.stored import store_experiment

OLD, NEW = "2026-01-01_00-00-00", "2026-01-02_12-30-05"
CHECKPOINT = "/data/runs/grpo/step_60"


def stored(root: Path, stamp: str, *, name: str = "batch_scaling", **more: Any) -> ExperimentView:
    """An experiment with its reports, with errors over update batches, of a checkpoint with a step."""
    directory = store_experiment(root, stamp=stamp, name=name, **more)
    manifest = read_json(directory / "experiment.json")
    write_json(directory / "experiment.json", {**manifest, "checkpoint": CHECKPOINT})
    for file in directory.glob("*/results.json"):
        record = read_json(file)
        variance = record["variance_conditional"]
        write_json(file, {**record, "variance_total": 9 * variance, "se_total": 3 * record["se_conditional"]})
    return write_reports(directory)


def session(root: Path, stamp: str, views: list[ExperimentView]) -> Path:
    write_session_record(root, stamp, [view.directory for view in views])
    return write_index(root, stamp, views)


def rows_of(page: Path) -> list[list[str]]:
    """The texts of the cells, row by row."""
    body = page.read_text().partition("<tbody>")[2].partition("</tbody>")[0]
    lines = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", line, re.DOTALL) for line in lines]
    return [[unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in cells]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two sessions: one of two experiments, then one that failed."""
    root = tmp_path / "results"
    session(root, OLD, [stored(root, OLD, checks=[outcome(0.0)]), stored(root, OLD, name="single_run", runs=1)])
    session(root, NEW, [stored(root, NEW, checks=[outcome(9.0)], seed=1)])
    return root


def test_a_row_has_time_verdict_checkpoint_step_and_both_errors(results: Path) -> None:
    page = present(write_results_index(results))
    assert page == results / "index.html"
    rows = rows_of(page)
    assert [row[:5] for row in rows] == [
        ["2026-01-02 12:30:05", "FAIL", "batch_scaling", "grpo/step_60", "60"],
        ["2026-01-01 00:00:00", "PASS", "batch_scaling", "grpo/step_60", "60"],
        ["2026-01-01 00:00:00", "PASS", "single_run", "grpo/step_60", "60"],
    ]
    for row in rows:
        assert re.fullmatch(r"-0\.0\d+ ± 0\.00\d+ nats/response", row[5]), row
        assert re.fullmatch(r"± 0\.0\d+", row[6]), row
    assert [row[7] for row in rows] == ["32 × 2", "32 × 2", "32 × 1"]
    assert "Newest session, 2026-01-02 12:30:05: " in page.read_text()
    for directory in sorted(results.glob("*/*_2026*")):
        assert f'href="{quote(directory.relative_to(results).as_posix())}/report.html"' in page.read_text()
    assert f'href="sessions/{NEW}/index.html"' in page.read_text()


def test_a_session_page_has_an_overall_verdict_and_links_both_ways(results: Path) -> None:
    write_results_index(results)
    passed, failed = ((results / "sessions" / stamp / "index.html").read_text() for stamp in (OLD, NEW))
    assert '<span class="pass">PASS</span>: batch_scaling, single_run passed.</p>' in passed
    assert '<span class="fail">FAIL</span>: batch_scaling failed.</p>' in failed
    assert '<a href="../../index.html">← All sessions</a>' in failed
    report = next((results / "batch_scaling").glob(f"*{NEW}")) / "report.html"
    link = present(re.search(rf'<a href="([^"]*)">Session {NEW}</a>', report.read_text()))[1]
    assert (report.parent / link).resolve() == results / "sessions" / NEW / "index.html"
    write_index(results, "empty", [])
    empty = (results / "sessions" / "empty" / "index.html").read_text()
    assert '<span class="inconclusive">INCONCLUSIVE</span>: no experiment left results.</p>' in empty


def test_an_undecided_session_names_what_is_open(tmp_path: Path) -> None:
    undecided = {**outcome(0.0), "verdict": "inconclusive"}
    views = [stored(tmp_path, OLD, checks=[undecided]), stored(tmp_path, OLD, name="single_run", runs=1)]
    words = "INCONCLUSIVE</span>: batch_scaling left a question open; 1 of 2 experiments passed.</p>"
    assert words in session(tmp_path, OLD, views).read_text()


def test_what_was_removed_vanishes(results: Path) -> None:
    page = present(write_results_index(results))
    assert len(rows_of(page)) == 3
    assert len([one for one in prune(results, 1) if not one.spared]) == 1
    assert [row[:3] for row in rows_of(page)] == [
        ["2026-01-02 12:30:05", "FAIL", "batch_scaling"], ["2026-01-01 00:00:00", "PASS", "single_run"],
    ]  # fmt: skip
    shutil.rmtree(results / "single_run")
    assert write_results_index(results) == page
    assert [row[2] for row in rows_of(page)] == ["batch_scaling"]
    shutil.rmtree(results / "batch_scaling")
    write_results_index(results)
    assert "No session has left results here." in page.read_text()


def test_report_writes_it_again(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(results)]) == 0
    page = results / "index.html"
    assert capsys.readouterr().out.splitlines() == [str(page)]
    whole = page.read_bytes()
    page.unlink()
    assert main(["report", str(results)]) == 0
    assert page.read_bytes() == whole
    capsys.readouterr()
    assert main(["report", str(results)]) == 0
    assert "up to date" in capsys.readouterr().out


def break_summary(directory: Path) -> None:
    (directory / "summary.json").write_text("{")


def without_measured(directory: Path) -> None:
    record = read_json(directory / "summary.json")
    del record["measured"]
    write_json(directory / "summary.json", record)


@pytest.mark.parametrize(
    ("change", "cells"),
    [
        (lambda directory: (directory / "summary.json").unlink(), ["NO SUMMARY", "-", "-", "-"]),
        (break_summary, ["NO SUMMARY", "-", "-", "-"]),
        (without_measured, ["FAIL", "-", "-", "-"]),
    ],
)
def test_an_experiment_without_a_whole_summary_keeps_its_row(
    results: Path, change: Callable[[Path], None], cells: list[str]
) -> None:
    change(next((results / "batch_scaling").glob(f"*{NEW}")))
    row = rows_of(present(write_results_index(results)))[0]
    assert [row[1], *row[5:]] == cells
    assert row[2:5] == ["batch_scaling", "grpo/step_60", "60"]


def test_text_from_outside_is_escaped(tmp_path: Path) -> None:
    view = stored(tmp_path, OLD)
    manifest = read_json(view.directory / "experiment.json")
    write_json(view.directory / "experiment.json", {**manifest, "checkpoint": 'a/"><script>alert(1)</script>'})
    session(tmp_path, OLD, [view_experiment(view.directory)])
    page = present(write_results_index(tmp_path))
    for file in (page, tmp_path / "sessions" / OLD / "index.html"):
        assert "<script>" not in file.read_text()
        assert "&lt;script&gt;" in file.read_text()


def test_another_programs_page_stays(results: Path) -> None:
    mine = results / "index.html"
    mine.write_text("<h1>my own</h1>")
    assert write_results_index(results) is None
    assert mine.read_text() == "<h1>my own</h1>"


def test_a_session_that_ends_meanwhile_is_on_the_page(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session stores its experiment after this one has read what there is, and writes its page first."""
    meanwhile: list[str] = []

    def slow(*arguments: Any, **values: Any) -> str:
        text = pages.page(*arguments, **values)
        if not meanwhile:
            meanwhile.append("debug")
            session(results, "2026-01-03_00-00-00", [stored(results, "2026-01-03_00-00-00", name="debug", runs=1)])
            write_results_index(results)
        return text

    monkeypatch.setattr(results_index, "page", slow)
    rows = rows_of(present(write_results_index(results)))
    assert [row[2] for row in rows][0] == "debug"
    assert len(rows) == 4


def test_a_page_that_cannot_be_written_fails_no_session(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(results_index, "write_text", refused)
    notes, found = write_overview(results, SessionAudit([], {}), [])
    assert notes == ["page over all sessions NOT written: PermissionError: read-only"]
    assert found == []
    assert not (results / "index.html").exists()


def test_the_audit_agrees_and_names_another_number(results: Path) -> None:
    view = view_experiment(next((results / "batch_scaling").glob(f"*{NEW}")))
    page = present(write_results_index(results))
    runs = read_stored(view.directory, [run.directory for run in view.runs])

    def found() -> list[str]:
        ledger = Ledger()
        rows_of_page(ledger, page, {view.directory: runs})
        return ledger.lines()

    assert found() == []
    whole = page.read_text()
    row = rows_of(page)[0]
    page.write_text(whole.replace(row[6], "± 0.77", 1))
    (line,) = found()
    assert "index.html: the error over update batches of 32 × 2 is 0.77" in line
    page.write_text(whole.replace("32 × 2", "32 × 9", 1))
    assert "B_E × runs is '32 × 9'" in found()[0]
    page.write_text(MARK)
    assert f"has no row of {view.directory.name}" in found()[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delta_h1": -0.5}, "the measured delta_h1 is -0.5"),
        ({"se_conditional": 0.5}, "the error of the measured delta_h1 is 0.5"),
        ({"se_total": 0.5}, "the measured delta_h1's error over update batches is 0.5"),
        ({"runs": 9}, "B_E and runs of the measured change is (32, 9)"),
    ],
)
def test_the_audit_names_another_number_in_the_summary(results: Path, change: dict[str, float], words: str) -> None:
    view = view_experiment(next((results / "batch_scaling").glob(f"*{NEW}")))
    runs = read_stored(view.directory, [run.directory for run in view.runs])
    record = read_json(view.directory / "summary.json")
    for measured, lines in ((record["measured"], 0), ({**record["measured"], **change}, 1)):
        ledger = Ledger()
        summarised_change(ledger, {**record, "measured": measured}, runs)
        assert len(ledger.lines()) == lines
    assert words in ledger.lines()[0]


def test_a_thousand_experiments_take_no_time(results: Path) -> None:
    template = next((results / "single_run").iterdir())
    for number in range(1000):
        copy = results / "single_run" / f"single_run_{number}"
        copy.mkdir()
        shutil.copy(template / "summary.json", copy)
        write_json(copy / "experiment.json", {**read_json(template / "experiment.json"), "stamp": f"s{number:04d}"})
    os.sync()
    began = time.perf_counter()
    page = present(write_results_index(results))
    took = time.perf_counter() - began
    assert len(rows_of(page)) == 1003
    # A second on a slow machine; ten on one that does other work.
    assert took < 10, took
    print(f"1003 experiments: {took:.2f} s, {page.stat().st_size / 1e6:.2f} MB")
    assert json.loads((template / "summary.json").read_text())["measured"]["B_E"] == 32
