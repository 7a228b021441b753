"""The summary section: tables from what is stored, words from what items reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.records.item import ItemReport
from pytest_entropy.reports.tables import size_table, to_markdown
from pytest_entropy.reports.terminal import table_lines, write_terminal
from pytest_entropy.reports.undecided import MORE, undecided_in_words
from pytest_entropy.reports.view import ExperimentView, view_experiment
from tests.unit.reports.stored import store_experiment


class Lines:
    """What pytest's terminal reporter would show."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, frozenset[str]]] = []

    def section(self, title: str, sep: str) -> None:
        self.lines.append((f"{sep} {title}", frozenset()))

    def write_line(self, line: str, **colours: bool) -> None:
        self.lines.append((line, frozenset(name for name, on in colours.items() if on)))

    @property
    def text(self) -> list[str]:
        return [line for line, _ in self.lines]


@pytest.fixture
def view(tmp_path: Path) -> ExperimentView:
    return view_experiment(store_experiment(tmp_path))


def shown(view: ExperimentView, *reports: ItemReport, views: list[ExperimentView] | None = None, **more: Any) -> Lines:
    """The section for an experiment whose items reported this."""
    lines = Lines()
    first = ItemReport(experiment=view.name, directory=str(view.directory), nodeid="a::test_run", outcome="passed")
    write_terminal(
        lines, {view.name: [first, *reports]}, [view] if views is None else views, **{"quiet": False, **more}
    )
    return lines


def test_the_table_is_that_of_the_stored_runs_and_has_the_reports_numbers(view: ExperimentView) -> None:
    lines = shown(view).text
    assert lines[:2] == ["= entropy", "batch_scaling"]
    assert lines[2:-1] == table_lines(size_table(view))
    assert lines[-1] == f"  results: {view.directory}"
    markdown = to_markdown([view])
    for row in size_table(view).sizes:
        assert f"| {row.B_E} | {row.runs} | {row.measure} | {row.noise} |" in markdown
        assert any(row.measure in line and row.noise in line for line in lines)


def test_without_a_view_or_without_runs_there_is_no_table(view: ExperimentView, tmp_path: Path) -> None:
    assert shown(view, views=[]).text == ["= entropy", "batch_scaling", f"  results: {view.directory}"]
    directory = store_experiment(tmp_path / "failed", sizes=(8,), runs=1)
    (directory / "BE008_run001" / "results.json").unlink()
    assert len(shown(view_experiment(directory)).text) == 3


def test_verdicts_failures_and_trouble_have_their_colours(view: ExperimentView) -> None:
    told = [
        ItemReport(nodeid="a::test_x", outcome="passed", verdict="measured", reason="entropy falls"),
        ItemReport(nodeid="a::test_y", outcome="skipped", inconclusive="y: inconclusive\n  expected: nothing"),
        ItemReport(nodeid="a::test_z", outcome="failed", verdict="inconclusive", reason="too few"),
    ]
    lines = shown(view, *told, notes=["a note"], trouble=["not written"])
    assert ("  measured: entropy falls", frozenset({"red"})) in lines.lines
    assert ("  INCONCLUSIVE test_z: too few", frozenset({"yellow"})) in lines.lines
    assert ("  failed: test_z", frozenset({"red"})) in lines.lines
    assert lines.lines[-2:] == [("a note", frozenset()), ("not written", frozenset({"red"}))]
    assert any(line.startswith(f"  INCONCLUSIVE test_y: nothing; {MORE[:20]}") for line in lines.text)
    quiet = shown(view, *told, notes=["a note"], trouble=["not written"], quiet=True).text
    assert quiet[1:] == [
        "batch_scaling: measured: entropy falls",
        f"batch_scaling: INCONCLUSIVE test_y: nothing; {MORE}",
        "batch_scaling: INCONCLUSIVE test_z: too few",
        "batch_scaling: failed: test_z",
        f"batch_scaling: {view.directory}",
        "not written",
    ]


def test_a_cause_is_said_only_where_something_has_to_be_changed() -> None:
    message = "x: inconclusive\n  expected: a\n  this sample can see effects from 1 nats\n  points to: b"
    assert undecided_in_words(message) == f"a; this sample can see effects from 1 nats; {MORE}"
    assert (
        undecided_in_words("x: inconclusive\n  expected: a\n  because: c\n  points to: b")
        == "a; because: c; points to: b"
    )
