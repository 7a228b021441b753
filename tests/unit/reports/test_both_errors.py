"""Both errors of delta_h1 in every report of stored runs: where known, where not asked for, where not determined."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_entropy.baselines.baseline_file import snapshot
from pytest_entropy.baselines.compare import compare
from pytest_entropy.baselines.compare_directories import to_rows
from pytest_entropy.baselines.rules import DEFAULT, parse_rules
from pytest_entropy.commands.command_line import main
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.baseline import SharedUpdate
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.item import ItemReport
from pytest_entropy.records.run import RunRecord
from pytest_entropy.reports.gate_reason import both_errors
from pytest_entropy.reports.html import render
from pytest_entropy.reports.index import write_index
from pytest_entropy.reports.sections.figures import plots
from pytest_entropy.reports.tables import size_table, summary_of, to_csv, to_markdown
from pytest_entropy.reports.terminal import live_line, table_lines
from pytest_entropy.reports.view import ExperimentView, view_experiment
from pytest_entropy.stats import format_error
from tests.present import present
from tests.unit.plugin.test_session_end import SCHEMA
from tests.unit.reports.stored import store_experiment

PART = 9e-6
NOTE = "B_U is 1: the total variance needs at least 2 prompts in the update batch"


def known(run: dict[str, Any]) -> dict[str, float]:
    total = run["variance_conditional"] + PART
    return {"variance_total": total, "se_total": total**0.5}


def missing(run: dict[str, Any]) -> dict[str, float | list[str] | None]:
    return {"variance_total": None, "se_total": None, "notes": [NOTE]}


def negative(run: dict[str, Any]) -> dict[str, float]:
    return {"variance_total": -1.0, "se_total": 2 * float(run["se_conditional"])}


def single_batch(run: dict[str, Any]) -> dict[str, float | str]:
    own = {"variance_total": run["variance_conditional"], "se_total": run["se_conditional"]}
    return {**own, "mode": "u_statistic"}


def stored(
    tmp_path: Path, change: Callable[[dict[str, Any]], Mapping[str, object]] | None, **more: Any
) -> ExperimentView:
    """A view of stored runs with ``change`` of each made, and their records."""
    directory = store_experiment(tmp_path, **more)
    for file in directory.glob("*/results.json"):
        run = read_json(file)
        write_json(file, {**run, **(change(run) if change else {})})
    return view_experiment(directory)


def properties(view: ExperimentView) -> list[dict[str, object]]:
    """What the items of these runs report, as JUnit has it."""
    out = []
    for run in view.runs:
        record = read_json(view.directory / run.directory / "results.json")
        out.append(dict(ItemReport.of_run(RunRecord.from_dict(record), stored=False).to_properties()))
        json.dumps(out)
    return out


def items(view: ExperimentView) -> list[ItemReport]:
    """The same, as it reaches the terminal."""
    return [ItemReport.from_properties(told.items()) for told in properties(view)]


def table(view: ExperimentView) -> list[str]:
    """The terminal's table."""
    return table_lines(size_table(view))


def pooled(view: ExperimentView, size: int) -> tuple[float, float]:
    """(conditional, total) error of the mean at one B_E, from the runs' own variances."""
    own = [present(run.variance_conditional) for run in view.runs if size == run.B_E]
    conditional = sum(own) / len(own) ** 2
    return conditional**0.5, (conditional + PART) ** 0.5


def test_the_terminals_table_has_a_column_for_the_second_error_where_it_is_known(tmp_path: Path) -> None:
    view = stored(tmp_path, known)
    lines = table(view)
    assert "± over U" in lines[0]
    for line, size in zip(lines[1:3], (8, 32), strict=True):
        conditional, total = pooled(view, size)
        values = [float(value) for value in re.findall(r"± ([\d.]+)", line)]
        assert values == [pytest.approx(conditional, rel=0.06), pytest.approx(total, rel=0.06)]
    assert " ".join(lines[3:]).strip() == "± SE: for this update batch U; ± over U: over update batches"
    assert max(map(len, lines)) <= 80


def test_the_terminals_table_stays_narrow_and_labelled_where_it_is_not(tmp_path: Path) -> None:
    lines = table(stored(tmp_path, None))
    assert "over U" not in " ".join(lines)
    assert lines[-1] == "  ± SE: for this update batch U"
    single = table(stored(tmp_path / "single", single_batch))
    assert single[-1] == "  ± SE: over batches"
    assert "over U" not in " ".join(single)


def test_a_negative_estimate_has_the_larger_parts_error_everywhere(tmp_path: Path) -> None:
    view = stored(tmp_path, negative, runs=1)
    joined, told = " ".join([*table(view), render(view), to_markdown([view])]), properties(view)
    assert "not determined" not in joined
    for run, properties_of_it in zip(view.runs, told, strict=True):
        assert f"± {format_error(present(run.se_total))}" in joined
        assert properties_of_it["se_total"] == run.se_total == 2 * present(run.se_conditional)


def test_a_missing_estimate_is_not_determined_everywhere(tmp_path: Path) -> None:
    view = stored(tmp_path, missing, runs=1)
    lines = table(view)
    assert all("not determined" in line for line in lines[1:3])
    assert max(map(len, lines)) <= 80
    joined = " ".join(line.strip() for line in lines)
    assert f"not determined: {NOTE}" in joined
    markdown, html = to_markdown([view]), render(view)
    assert markdown.count("| not determined |") == 2
    assert NOTE in markdown
    assert html.count('<td data-of="± over U">not determined</td>') == 2
    assert html.count(f"not determined: {NOTE}") == 3
    for row in csv.DictReader(io.StringIO(to_csv(view))):
        assert (row["se_total"], row["notes"]) == ("", NOTE)
    told = properties(view)[0]
    assert "se_total" not in told
    assert told["notes"] == NOTE
    assert "over update batches not determined, 0.75 s" in live_line(items(view)[0])


def test_the_live_line_says_what_its_errors_are_of(tmp_path: Path) -> None:
    first = items(stored(tmp_path, known))[0]
    assert re.fullmatch(
        r"δH₁ = -0\.\d+ ± 0\.\d+ for this update batch, ± 0\.\d+ over update batches, 0\.75 s", live_line(first)
    )
    assert live_line(replace(first, stored=True)).endswith("over update batches, from the store")
    plain = items(stored(tmp_path / "plain", None))[0]
    assert re.fullmatch(r"δH₁ = -0\.\d+ ± 0\.\d+ for this update batch, 0\.75 s", live_line(plain))


def test_properties_have_the_second_error_where_it_was_computed(tmp_path: Path) -> None:
    view = stored(tmp_path, known)
    assert [told["se_total"] for told in properties(view)] == [run.se_total for run in view.runs]
    plain = properties(stored(tmp_path / "plain", None))[0]
    assert not {"se_total", "variance_total", "notes"} & set(plain)


def test_the_csv_and_the_summary_keep_both_to_the_last_digit(tmp_path: Path) -> None:
    view = stored(tmp_path, known)
    rows = list(csv.DictReader(io.StringIO(to_csv(view))))
    kept = [(run.se_conditional, run.se_total) for run in view.runs]
    assert [(float(row["se_conditional"]), float(row["se_total"])) for row in rows] == kept
    record = json.loads(json.dumps(summary_of(view).to_dict()))
    jsonschema.validate(record, SCHEMA)
    assert [(run["se_conditional"], run["se_total"]) for run in record["runs"]] == kept
    assert {run["mode"] for run in record["runs"]} == {"two_batch"}


def test_results_from_before_there_were_two_modes_have_their_reports(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    for file in directory.glob("*/results.json"):
        new = ("mode", "variance_total", "se_total", "variance_parts", "notes", "u_statistic")
        write_json(file, {key: value for key, value in read_json(file).items() if key not in new})
    view = write_reports(directory)
    record: dict[str, Any] = summary_of(view).to_dict()
    jsonschema.validate(record, SCHEMA)
    assert {(run["se_total"], run["mode"], run["notes"]) for run in record["runs"]} == {(None, "two_batch", "")}
    # A summary written before the columns were added is one still.
    for run in record["runs"]:
        for column in ("se_total", "mode", "notes"):
            del run[column]
    jsonschema.validate(record, SCHEMA)


def test_a_second_error_that_is_no_number_is_a_failed_run(tmp_path: Path) -> None:
    directory = stored(tmp_path, known).directory
    file = directory / "BE008_run001" / "results.json"
    file.write_text(json.dumps({**read_json(file), "se_total": float("nan")}))
    assert list(view_experiment(directory).failures) == ["BE008_run001"]


@pytest.mark.parametrize(("change", "scope"), [(known, "for this update batch"), (single_batch, "over batches")])
def test_markdown_report_and_index_label_their_errors(
    tmp_path: Path, change: Callable[[dict[str, Any]], Mapping[str, object]], scope: str
) -> None:
    view = stored(tmp_path, change)
    index = write_index(tmp_path, "2026-01-01_00-00-00", [view]).read_text()
    html, markdown = render(view), to_markdown([view])
    assert f"<th>δH₁ ± SE {scope}</th>" in html
    for page in (html, index, markdown):
        assert f"± SE: {scope}" in page
        assert ("± over U" in page) == (change is known)
    if change is known:
        assert "<th>± over update batches</th>" in html
        for size in (8, 32):
            _, total = pooled(view, size)
            assert f"| ± {total:.4f} |" in markdown
            assert f'<td data-of="± over U">± {total:.4f}</td>' in html
            assert f"<td>± {total:.4f}</td>" in index
        run = view.runs[0]
        assert f'<td class="wrap" data-of="± over update batches">± {run.se_total:.4f}</td>' in html


def test_figures_say_which_error_they_draw(tmp_path: Path) -> None:
    sweep = {
        "points": [{"eta": 2e-4, "slope": -138.0, "se": 6.0}], "intercept": -138.0, "intercept_se": 5.0,
        "delta_h1_over_eta": -137.0, "reading": "first order holds",
    }  # fmt: skip
    for change, scope in ((known, "for this update batch"), (single_batch, "over batches")):
        view = stored(tmp_path / scope.split()[0], change, analysis={"verdict": "no fit", "eta_sweep": sweep})
        readings = {plot.title: plot.reading for plot in plots(view)}
        assert readings["δH₁ against B_E"] == f"no fit; all errors {scope}"
        assert readings["Standard error against B_E"].endswith(f"; the error {scope}")
        assert "± 5.0 for this update batch" in readings["Entropy change against the step"]


def test_a_comparison_says_that_its_difference_is_along_one_update(tmp_path: Path) -> None:
    first = snapshot(stored(tmp_path / "a", known).directory)
    assert [run.se_total for run in first.runs] == [run.se_total for run in stored(tmp_path / "b", known).runs]
    without: dict[str, Any] = snapshot(stored(tmp_path / "c", None).directory).to_dict()
    assert "se_total" not in without["runs"][0]
    first = replace(first, update=SharedUpdate(prompts=["p"], rewards=[[0.0, 1.0]]))
    by_quantity = {c.rule.quantity: c for c in compare(first, first, parse_rules([DEFAULT]), alpha=1e-3)}
    (row,) = to_rows([by_quantity["delta_h1"]])
    errors = present(row.errors_after)
    given, over = format_error(present(errors.se_conditional)), format_error(present(errors.se_total))
    words = f"± {given} for this update batch, ± {over} over update batches"
    assert both_errors(row) == f"baseline: {words}; now: {words}"
    assert by_quantity["entropy"].scope == ""
    first.objective["probe.mode"] = "u_statistic"
    single = {c.rule.quantity: c for c in compare(first, first, parse_rules([DEFAULT]), alpha=1e-3)}
    (row,) = to_rows([single["delta_h1"]])
    assert both_errors(row).endswith(" over batches")
    assert "over update batches" not in both_errors(row)


def test_the_list_says_what_the_conclusion_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = store_experiment(tmp_path, name="single_run", sizes=(64,), runs=1)
    words = "entropy falls by 0.0253 nats/response: δH₁ = -0.0253 ± 0.0010 for this update batch"
    write_json(directory / "conclusion.json", {"verdict": "measured", "reason": words})
    write_reports(directory)
    assert main(["list", str(tmp_path)]) == 0
    assert words in capsys.readouterr().out


def test_tensorboard_has_a_curve_of_the_second_error_where_it_is_known(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from pytest_entropy.plugin.tensorboard import write_events

    for change in (known, None):
        view = stored(tmp_path / str(bool(change)), change)
        write_events([view], tmp_path / f"board {bool(change)}")
        events = EventAccumulator(str(tmp_path / f"board {bool(change)}" / view.name / view.directory.name)).Reload()
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("se_total")]
        assert tags == (["se_total/B_E 8", "se_total/B_E 32"] if change else [])
    assert len(view.runs) == 4
