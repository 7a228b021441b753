"""The audit of memory scaling: silent on what is written, and naming each number that is changed afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checks.summaries.memory_scaling import conclusion, memory_scaling
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.files import write_json
from pytest_entropy.records.memory_probe import MemoryProbes
from pytest_entropy.records.serialization import plain
from pytest_entropy.reports.audit.experiment import audit
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.stored_run import look_before
from pytest_entropy.reports.figures import memory_scaling as figure
from pytest_entropy.reports.sections import memory_scaling as section
from pytest_entropy.reports.view import view_experiment
from pytest_entropy.runs.run_files import read_run
from tests.unit.checks.summaries.test_memory_scaling import OTHERS, against_B_E
from tests.unit.reports.stored import store_experiment


def stored(root: Path) -> Path:
    """Three runs, probes, and the analysis of both."""
    directory = store_experiment(root, name="memory_scaling", sizes=(8, 16, 32), runs=1)
    measured = MemoryProbes(counted="counted", probes=[*against_B_E((8, 40.0), (32, 41.0)), *OTHERS])
    (directory / "memory_probes").mkdir()
    write_json(directory / "memory_probes" / "memory_probes.json", measured.to_dict())
    runs = [read_run(file.parent) for file in sorted(directory.glob("*/results.json"))]
    analysis = memory_scaling(runs, measured)
    write_json(directory / "memory_scaling.json", plain(analysis))
    verdict, reason = conclusion(analysis)
    write_json(directory / "conclusion.json", {"verdict": verdict, "reason": reason})
    return directory


def audited(directory: Path) -> list[str]:
    before = look_before(directory)
    write_reports(directory)
    return audit(directory, before)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment with its reports, written once."""
    directory = stored(tmp_path_factory.mktemp("results"))
    write_reports(directory)
    return directory


def test_what_is_written_agrees_and_has_its_figure_in_its_place(reported: Path) -> None:
    assert audit(reported, look_before(reported)) == []
    assert [reported.parent.name, reported.name] == ["batch_scaling", "memory_scaling_2026-01-01_00-00-00"]
    for title in ("Memory against B_E", "Time against B_E", "Memory against G and length", "Time against G and length"):
        assert f"<strong>{title}.</strong>" in (reported / "report.html").read_text()


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "memory of B_E 16 run 1": lambda record: record["runs"][1].update(memory_mb=1.0),
    "seconds of B_E 32 run 1": lambda record: record["runs"][2].update(seconds=1.0),
    "peak_mb of probe 1": lambda record: record["probes"][1].update(peak_mb=40.0),
    "the slope of memory against G": lambda record: record["fits"][3].update(slope=0.0),
    "the forecast of memory against B_E": lambda record: record["fits"][0].update(forecast=816.0),
    "seen over forecast of seconds against G": lambda record: record["fits"][4].update(seen_over_forecast=1.1),
    "a point of memory against length": lambda record: record["fits"][5]["points"][0].__setitem__(1, 1.0),
}


@pytest.mark.parametrize("number", CHANGES)
def test_a_number_that_is_changed_is_named(reported: Path, tmp_path: Path, number: str) -> None:
    directory = tmp_path / reported.name
    shutil.copytree(reported, directory)
    file = directory / "memory_scaling.json"
    record = json.loads(file.read_text())
    CHANGES[number](record)
    write_json(file, record)
    # One line per file; the first discrepancy may be another that follows from the change.
    whole: list[str] = []
    differs = Ledger.differs

    def noted(ledger: Ledger, file: str, words: str) -> None:
        whole.append(words)
        differs(ledger, file, words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "differs", noted)
        assert any("memory_scaling.json" in line for line in audit(directory, look_before(directory)))
    assert any(number in words for words in whole), whole


def test_a_point_that_is_drawn_elsewhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = stored(tmp_path)
    real = figure._one

    def doubled(axes: Any, fit: Any, *others: Any) -> None:
        real(axes, {**fit, "points": [(x, 2 * y) for x, y in fit["points"]]}, *others)

    monkeypatch.setattr(figure, "_one", doubled)
    found = audited(directory)
    assert any("memory of the process, B_E 8 run 1" in line for line in found), found


@pytest.mark.parametrize(("column", "number"), [(1, "the cost of one more"), (3, "seen over forecast of one more")])
def test_a_cost_that_is_printed_otherwise_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: int, number: str
) -> None:
    directory = stored(tmp_path)
    real = section._row

    def doubled(fit: Any) -> list[str]:
        cells = real(fit)
        value, *unit = cells[column].split()
        cells[column] = " ".join([value if value == "-" else f"{2 * float(value):.3g}", *unit])
        return cells

    monkeypatch.setattr(section, "_row", doubled)
    assert any(number in line for line in audited(directory))


def test_what_one_more_costs_stands_before_delta_h1(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    assert page.index("one more") < page.index("δH₁ by batch size") < page.index("Figures</h2>")


def test_other_experiments_have_no_such_figure(tmp_path: Path) -> None:
    assert list(figure.memory_scaling_figures(view_experiment(store_experiment(tmp_path)))) == []


def test_fits_of_a_users_own_analysis_are_left_alone(tmp_path: Path) -> None:
    view = view_experiment(store_experiment(tmp_path))
    assert list(figure.memory_scaling_figures(replace(view, analysis={"fits": [1.5, 2.5]}))) == []
