"""The audit of an experiment: silent on what the package writes, and naming each number that is changed afterwards."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from pytest_entropy.checks.summaries import sanity_check
from pytest_entropy.checks.summaries.convergence import convergence
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.files import write_json
from pytest_entropy.records.item import ItemReport
from pytest_entropy.records.rollouts import ExtremeRollouts, PromptRollouts, Response, extremes
from pytest_entropy.records.serialization import plain
from pytest_entropy.records.summary import RunRow
from pytest_entropy.reports import tables
from pytest_entropy.reports.audit.experiment import Shown, audit
from pytest_entropy.reports.audit.items import ReportedItem
from pytest_entropy.reports.audit.stored_run import Before, look_before
from pytest_entropy.reports.figures import error_scaling, scaling
from pytest_entropy.reports.sections import runs as runs_section
from pytest_entropy.reports.tables import size_table
from pytest_entropy.reports.terminal import live_line, table_lines
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.runs.run_files import read_run
from pytest_entropy.stats import pool
from tests.unit.plugin.test_session_end import outcome
from tests.unit.reports.stored import store_experiment

CHECKS = [outcome(0.0), outcome(9.0, "estimator_agreement")]


def stored(root: Path, **more: Any) -> Path:
    """Runs with errors over update batches and shares of the prompts, an analysis, and two checks."""
    directory = store_experiment(root, checks=CHECKS, **more)
    for number, file in enumerate(sorted(directory.glob("*/results.json"))):
        record = json.loads(file.read_text())
        v_x = record["variance_conditional"]
        parts = {"entropy_batch": v_x, "update_batch": 3 * v_x, "interaction": 0.5 * v_x}
        total = sum(parts.values()) - 2 * parts["interaction"]
        record |= {"variance_parts": parts, "variance_total": total, "se_total": total**0.5}
        file.write_text(json.dumps(record | {"sampling_fraction": 0.1, "notes": ["few prompts"] if number else []}))
    analyse(directory)
    with_rollouts(directory)
    return directory


def with_rollouts(directory: Path) -> None:
    """What the first run at the largest B_E stores of its prompts with the lowest and the highest s_n."""
    run = read_run(sorted(directory.glob("*run001"))[-1])
    shown = [
        PromptRollouts(f"prompt {n}", run.per_prompt[n], extreme, [Response("yes", 1.0)])
        for n, extreme in extremes(run.per_prompt)
    ]
    rollouts = ExtremeRollouts(B_E=run.B_E, run=run.run, eta=run.eta, unit=run.unit, prompts=shown)
    write_json(directory / run.directory / "rollouts.json", rollouts.to_dict())


def analyse(directory: Path) -> None:
    """What batch scaling's test writes."""
    runs = [read_run(file.parent) for file in sorted(directory.glob("*/results.json"))]
    verdict, analysis = convergence(runs, alpha=1e-3, confidence=0.95, tolerance=0.1, rng=np.random.default_rng(0))
    write_json(directory / "convergence_analysis.json", plain(analysis))
    write_json(directory / "conclusion.json", {"verdict": verdict.verdict, "reason": verdict.reason})


def audited(directory: Path, change: Callable[[Path], object] = lambda directory: None) -> list[str]:
    """The audit of the reports, written and then changed."""
    before = look_before(directory)
    return after_change(directory, before, write_reports(directory), change)


def after_change(directory: Path, before: Before, view: ExperimentView, change: Callable[[Path], object]) -> list[str]:
    """The audit of written reports after a change."""
    change(directory)
    items = [ItemReport.of_run(read_run(directory / run.directory), stored=False) for run in view.runs]
    named = [replace(item, nodeid=f"test.py::test_run[BE{item.B_E:03d}-run{item.run:03d}]") for item in items]
    shown = Shown(
        terminal=table_lines(size_table(view)) if view.runs else (),
        items=[ReportedItem.of(item.name, item.to_properties()) for item in named],
        live={item.name: live_line(item) for item in named},
    )
    return audit(directory, before, shown)


@pytest.mark.parametrize("sizes", [(8,), (8, 32), (2, 3, 64)])
def test_what_is_written_agrees_with_the_runs(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    assert audited(stored(tmp_path, sizes=sizes, runs=3)) == []


def test_failed_missing_and_unreadable_runs_are_no_discrepancy(tmp_path: Path) -> None:
    directory = stored(tmp_path, runs=4)
    (directory / "convergence_analysis.json").unlink()
    (directory / "BE008_run001" / "results.json").unlink()
    (directory / "BE008_run002" / "results.json").rename(directory / "BE008_run002" / "error.txt")
    (directory / "BE032_run001" / "results.json").write_text('{"B_E": 32}')
    assert audited(directory) == []
    for file in directory.glob("*/results.json"):
        file.unlink()
    assert audited(directory) == []


def test_numbers_that_are_missing_zero_or_not_finite_are_no_discrepancy(tmp_path: Path) -> None:
    directory = stored(tmp_path, runs=3)
    (directory / "convergence_analysis.json").unlink()
    changes: dict[str, dict[str, Any]] = {
        "BE008_run001": {"delta_h1": 0.0, "variance_conditional": 0.0, "se_conditional": 0.0, "per_prompt": [0.0] * 8},
        "BE008_run002": {"entropy_se": None, "variance_total": -1e-9, "se_total": None, "variance_parts": {}},
        "BE032_run001": {"notes": ["total variance is 3e-4, no number"], "seconds": {}, "memory_mb": {}},
    }
    for name, change in changes.items():
        file = directory / name / "results.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert audited(directory) == []


def test_an_update_that_moves_nothing_is_no_discrepancy(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path, checks=CHECKS)
    for file in directory.glob("*/results.json"):
        record = json.loads(file.read_text())
        zero = {"delta_h1": 0.0, "se_conditional": 0.0, "variance_conditional": 0.0, "sampling_fraction": 0.1}
        file.write_text(json.dumps(record | zero | {"per_prompt": [0.0] * len(record["per_prompt"])}))
    analyse(directory)
    assert json.loads((directory / "convergence_analysis.json").read_text())["fit"]["b"] == 0
    assert audited(directory) == []


def test_a_run_that_arrives_while_reports_are_made_is_no_discrepancy(tmp_path: Path) -> None:
    directory = stored(tmp_path)
    (directory / "convergence_analysis.json").unlink()
    late = directory / "BE032_run002" / "results.json"
    away = late.rename(tmp_path / "away")
    assert audited(directory, lambda _: away.rename(late)) == []


def test_an_analysis_older_than_a_run_is_not_compared(tmp_path: Path) -> None:
    """A resumed session that computed a missing run and made no analysis."""
    directory = stored(tmp_path)
    record = json.loads((directory / "convergence_analysis.json").read_text())
    record["fit"]["a"] *= 2
    (directory / "convergence_analysis.json").write_text(json.dumps(record))
    assert any("fit.a" in line for line in audited(directory))
    time.sleep(0.02)
    (directory / "BE032_run002" / "results.json").touch()
    assert audited(directory) == []


def edited(name: str, pattern: str, by: str) -> Callable[[Path], object]:
    """A change of a file's text; the pattern is found."""

    def change(directory: Path) -> None:
        text = (directory / name).read_text(encoding="utf-8")
        new = re.sub(pattern, by, text, count=1)
        assert new != text
        (directory / name).write_text(new, encoding="utf-8")

    return change


def exchanged(name: str, one: str, other: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_text(
        (directory / name).read_text().replace(one, "@").replace(other, one).replace("@", other)
    )


CHANGED = {
    "wrong column": (exchanged("results.csv", "se_conditional", "entropy_se"), "results.csv: se_conditional of B_E 8"),
    "dropped sign": (edited("results.csv", ",-", ","), "results.csv: delta_h1 of B_E 8 run 1 is 0"),
    "wrong run": (exchanged("results.csv", "BE008_run001", "BE008_run002"), "results.csv: run of B_E 8"),
    "a row left out": (edited("results.csv", r"batch_scaling,BE032_run002.*\n", ""), "has no row of BE032_run002"),
    "another unit": (edited("summary.md", r"\| -0\.02", "| -20"), "summary.md: mean delta_h1 of B_E 8"),
    "error of the mean": (edited("summary.md", r"(?<=± 0\.00)\d+", "99"), "summary.md: mean delta_h1 of B_E 8"),
    "p of another check": (edited("summary.md", r"p = 1 ", "p = 0.5 "), "summary.md: p of score_identity"),
    "summary's number": (edited("summary.json", r'"delta_h1": -', '"delta_h1": '), "summary.json: delta_h1 of B_E 8"),
    "summary's check": (edited("summary.json", r'"verdict": "fail"', '"verdict": "pass"'), "check estimator_agreement"),
    "a run called missing": (
        edited("summary.json", r'"missing_runs": \[\]', '"missing_runs": ["BE008_run001"]'),
        "calls BE008_run001 missing",
    ),
    "page's row": (
        edited("report.html", r"(?<=>BE008_run001</td>)(<td[^>]*>)-", r"\1"), "delta_h1 of B_E 8 run 1 is 0",
    ),
    "page's check": (edited("report.html", r'(?<=data-of="verdict">)FAIL', "PASS"), "the verdict of estimator_agree"),
    "page's p-value": (edited("report.html", r'(?<=data-of="p">)\d', "7"), "p of "),
    "page's check left out": (edited("report.html", r'(?s)<li class="check">.*?</li>', ""), "the list of checks"),
    "page's kurtosis": (edited("report.html", r"kurtosis \d", "kurtosis 99"), "an alternative text is"),
    "page's rollout": (edited("report.html", r'(?<=data-of="s_n">)-', ""), "s_n of rollout 1 of B_E 32 run 1 is"),
    "page's caption": (edited("report.html", r"over 80 prompts", "over 81 prompts"), "an alternative text is"),
    "fit": (edited("convergence_analysis.json", r'"b": ', '"b": 1'), "fit.b is"),
    "spread with ddof 0": (
        edited("convergence_analysis.json", r'(?<="std_delta_h1": )0', "1"), "std_delta_h1 of B_E 8",
    ),
    "interval of one error": (
        lambda directory: intervals_of_one_error(directory / "convergence_analysis.json"), "fit.ci_a is",
    ),
    "delta_h1 edited": (edited("BE032_run001/results.json", r'"delta_h1": -', '"delta_h1": '),
                        "BE032_run001/results.json: delta_h1 is 0"),
    "a prompt edited": (edited("BE032_run001/results.json", r'(?<="per_prompt": \[)-', ""),
                        "eta times the mean of per_prompt is"),
    "se_total edited": (edited("BE032_run001/results.json", r'"se_total": 0', '"se_total": 1'),
                        "the root of variance_total"),
}  # fmt: skip


def intervals_of_one_error(file: Path) -> None:
    record = json.loads(file.read_text())
    fit = record["fit"]
    fit["ci_a"] = [fit["a"] - fit["se_a"], fit["a"] + fit["se_a"]]
    file.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with its reports, to be copied."""
    directory = stored(tmp_path_factory.mktemp("written"))
    write_reports(directory)
    return directory


@pytest.mark.parametrize("fault", CHANGED)
def test_a_number_that_is_changed_is_named(written: Path, tmp_path: Path, fault: str) -> None:
    change, words = CHANGED[fault]
    directory = shutil.copytree(written, tmp_path / written.name)
    view, before = view_experiment(directory), look_before(directory)
    assert after_change(directory, before, view, lambda _: None) == [], "before the change"
    found = after_change(directory, before, view, change)
    assert any(words in line for line in found), found


def test_a_table_of_an_earlier_session_is_named(tmp_path: Path) -> None:
    directory = stored(tmp_path)
    write_reports(directory)
    old = (directory / "results.csv").read_text()
    for file in directory.glob("*/results.json"):
        record = json.loads(file.read_text())
        record |= {"delta_h1": 1.5 * record["delta_h1"], "per_prompt": [1.5 * s for s in record["per_prompt"]]}
        file.write_text(json.dumps(record))
    found = audited(directory, lambda directory: (directory / "results.csv").write_text(old))
    assert any("results.csv: delta_h1 of B_E 8 run 1 is" in line for line in found)


def first_of(row: Any) -> Any:
    return classmethod(lambda cls, runs, measured: replace(row(cls, runs[:1], measured[:1]), runs=len(runs)))


def halved_bars(patch: pytest.MonkeyPatch) -> None:
    draw = Axes.errorbar
    patch.setattr(Axes, "errorbar", lambda self, x, y, yerr, **more: draw(self, x, y, yerr=0.4 * yerr, **more))


def reversed_points(patch: pytest.MonkeyPatch) -> None:
    draw = Axes.errorbar
    patch.setattr(Axes, "errorbar", lambda self, x, y, **more: draw(self, x, y[::-1], **more))


def rows_shifted(patch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def of(run: Any, experiment: str) -> Any:
        seen.append(run)
        return replace(RunRow.of(seen[max(0, len(seen) - 2)], experiment), directory=run.directory)

    patch.setattr(runs_section, "RunRow", SimpleNamespace(of=of))


def single_error(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tables, "pool", lambda runs: replace(pool(runs), se=2 * (pool(runs).se or 1.0)))


def millinats(patch: pytest.MonkeyPatch) -> None:
    real = ItemReport.of_run.__func__  # type: ignore[attr-defined]
    of = lambda cls, run, *, stored: replace(real(cls, run, stored=stored), delta_h1=1e3 * run.delta_h1)  # noqa: E731
    patch.setattr(ItemReport, "of_run", classmethod(of))


def other_labels(patch: pytest.MonkeyPatch) -> None:
    for module in (scaling, error_scaling):
        patch.setattr(module, "short_unit", lambda view: "nats/token")


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "first run for the mean": (
        lambda patch: patch.setattr(tables.SizeRow, "of", first_of(tables.SizeRow.of.__func__)),  # type: ignore[attr-defined]
        "the terminal's table: mean delta_h1 of B_E 8",
    ),
    "error of the mean not pooled": (single_error, "summary.md: mean delta_h1 of B_E 8"),
    "bars of less than one error": (halved_bars, "figure 'δH₁ against B_E': the interval of B_E"),
    "points in another order": (reversed_points, "figure 'δH₁ against B_E': delta_h1 of B_E 8 run 1 is"),
    "rows of the page shifted": (rows_shifted, "report.html: delta_h1 of B_E 8 run 2 is"),
    "items in millinats": (millinats, "the test items' properties: delta_h1 of B_E 8 run 1 is"),
    "another unit on the axis": (other_labels, "its axis is labelled"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_of_the_reports_is_named(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = stored(tmp_path)
    plant, words = PLANTED[fault]
    plant(monkeypatch)
    found = audited(directory)
    assert any(words in line for line in found), found


def test_the_sanity_checks_summary_agrees_and_a_wrong_spread_is_named(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path, name="sanity_check", sizes=(16,), runs=3)
    for file in directory.glob("*/results.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps(record | {"diagnostics": {"reinforce_loo": record["per_prompt"][::-1]}}))
    runs = [read_run(file.parent) for file in sorted(directory.glob("*/results.json"))]
    summary = plain(sanity_check.validation_summary(runs, {}))
    write_json(directory / "validation_summary.json", summary)
    assert audited(directory) == []
    write_json(
        directory / "validation_summary.json", {**summary, "spread_over_runs": 0.8 * summary["spread_over_runs"]}
    )
    assert any("spread_over_runs" in line for line in audited(directory))


def test_the_number_of_runs_with_diagnostics_is_compared(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path, name="sanity_check", sizes=(16,), runs=3)
    asked = {"asked": ["reinforce_loo", "definition"]}
    for file in sorted(directory.glob("*/results.json"))[:1]:
        record = json.loads(file.read_text())
        file.write_text(json.dumps(record | asked | {"diagnostics": {"reinforce_loo": record["per_prompt"]}}))
    runs = [read_run(file.parent) for file in sorted(directory.glob("*/results.json"))]
    summary = plain(sanity_check.validation_summary(runs, {}))
    verdict, reason = sanity_check.conclusion(runs, 3)
    write_json(directory / "validation_summary.json", summary)
    write_json(directory / "conclusion.json", {"verdict": verdict, "reason": reason})
    assert "1 of them with diagnostics" in reason
    assert audited(directory) == []
    write_json(directory / "conclusion.json", {"verdict": verdict, "reason": reason.replace("1 of them", "2 of them")})
    assert any("the number of runs with diagnostics is 2" in line for line in audited(directory))
    invented = [{**run, "reinforce_loo": 0.1} for run in summary["per_run"]]
    write_json(directory / "validation_summary.json", {**summary, "runs_with_diagnostics": 3, "per_run": invented})
    found = audited(directory)
    assert any("runs_with_diagnostics is 3, stored are 1" in line for line in found), found


def test_sixty_runs_cost_little(tmp_path: Path) -> None:
    """The text of tables and files; figures are read from the page apart."""
    directory = stored(tmp_path, sizes=(16, 32, 64), runs=20)
    before = look_before(directory)
    write_reports(directory)
    spent = []
    for _ in range(3):
        start = time.process_time()
        assert audit(directory, before) == []
        spent.append(time.process_time() - start)
    # 50 ms on an idle core without figures; several times that here, so that a busy machine passes.
    assert min(spent) < 1.0
    assert view_experiment(directory).runs
