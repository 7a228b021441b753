"""The files of session end: their schema, their bytes when made again, what JUnit and TensorBoard get."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest

from pytest_entropy.commands.command_line import main
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.failed_items import note_item
from pytest_entropy.records.files import write_json
from pytest_entropy.reports.index import sessions, write_index, write_session_record
from pytest_entropy.reports.junit import keep_to_xunit2
from pytest_entropy.stats import check_mean_zero
from pytest_entropy.stats.outcome import OutcomeRecord
from tests.present import present
from tests.unit.reports.stored import store_experiment

SCHEMA = json.loads((files("pytest_entropy.records") / "schema" / "summary-1.json").read_text())
REPORTS = ("summary.json", "summary.md", "results.csv", "report.html")


def outcome(mean: float, name: str = "score_identity") -> OutcomeRecord:
    values = [mean - 1, mean + 1, mean - 0.5, mean + 0.5] * 20
    return check_mean_zero(values, alpha=1e-3, name=name, null="nothing", unit="nats", likely_causes="a bug").to_dict()


def test_summary_keeps_to_its_schema_and_the_schema_is_strict(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path, checks=[outcome(0.0)])
    write_reports(directory)
    summary = json.loads((directory / "summary.json").read_text())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(summary, SCHEMA)
    for broken in ({**summary, "more": 1}, {**summary, "schema_version": 2}, {**summary, "runs": [{"B_E": 1}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


def test_csv_is_tidy_and_loses_no_digit(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    view = write_reports(directory)
    with (directory / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4
    assert [float(row["delta_h1"]) for row in rows] == [run.delta_h1 for run in view.runs]


@pytest.mark.parametrize("still", [("BE008_run001",), ("BE008_run001", "BE008_run002", "BE032_run001", "BE032_run002")])
def test_an_update_that_moves_nothing_still_has_its_report(tmp_path: Path, still: tuple[str, ...]) -> None:
    """Equal rewards give zeros, which have no place on a logarithmic axis."""
    directory = store_experiment(tmp_path)
    for name in still:
        record = json.loads((directory / name / "results.json").read_text())
        zeros = {"delta_h1": 0.0, "variance_conditional": 0.0, "se_conditional": 0.0}
        record |= {**zeros, "per_prompt": [0.0] * record["B_E"]}
        (directory / name / "results.json").write_text(json.dumps(record))
    write_reports(directory)
    assert "Standard error against B_E" in (directory / "report.html").read_text()


def test_reports_made_again_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = store_experiment(tmp_path, checks=[outcome(0.0)])
    write_reports(directory)
    before = {name: (directory / name).read_bytes() for name in REPORTS}
    for name in REPORTS:
        (directory / name).unlink()
    monkeypatch.chdir(tmp_path)
    write_reports(directory.relative_to(tmp_path))
    assert {name: (directory / name).read_bytes() for name in REPORTS} == before


@pytest.mark.parametrize(
    ("checks", "tone", "words"),
    [
        ([outcome(0.0)], "pass", "4 runs; 1 check passed"),
        ([outcome(9.0)], "fail", "FAILED: score_identity (rejected: nothing)"),
        ([{**outcome(0.0), "verdict": "inconclusive"}], "inconclusive", "INCONCLUSIVE: score_identity: nothing"),
    ],
)
def test_the_verdict_in_words_and_in_one(
    tmp_path: Path, checks: list[dict[str, object]], tone: str, words: str
) -> None:
    view = write_reports(store_experiment(tmp_path, checks=checks))
    assert view.tone == tone
    assert view.headline.startswith(words)
    assert f'class="verdict {tone}"' in (view.directory / "report.html").read_text()


def test_failed_and_missing_runs_come_first(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    (directory / "BE008_run001" / "results.json").rename(directory / "gone")
    view = write_reports(directory)
    assert view.missing == ["BE008_run001"]
    assert view.headline.startswith("INCOMPLETE: 1 of 4")
    (directory / "BE008_run001" / "error.txt").write_text("session x\nValueError: <b>no luck</b>\n")
    view = write_reports(directory)
    assert view.tone == "fail"
    assert view.headline == "FAILED: 1 of 4 runs gave no result: ValueError: <b>no luck</b>"
    assert "ValueError: &lt;b&gt;no luck" in (directory / "report.html").read_text()


def test_a_failed_update_batch_is_no_run_and_says_why_none_has_a_result(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path, sizes=(8,), runs=2)
    (directory / "update").mkdir()
    for place in [directory / "update", *directory.glob("BE*")]:
        (place / "results.json").unlink(missing_ok=True)
        error = "ValueError: reward" if place.name == "update" else "FailedRun: ValueError: reward"
        (place / "error.txt").write_text(f"session x\nTraceback (most recent call last):\n  File\n{error}\n")
    view = write_reports(directory)
    assert view.headline == "FAILED: 2 of 2 runs gave no result: ValueError: reward"
    assert json.loads((directory / "summary.json").read_text())["failed_runs"] == ["BE008_run001", "BE008_run002"]
    assert (directory / "report.html").read_text().index("<summary>update") > 0


def test_a_failed_test_makes_the_report_red_until_it_passes(tmp_path: Path) -> None:
    """An assertion of somebody's own experiment leaves no check; the verdict must not look green for that."""
    directory = store_experiment(tmp_path, checks=[outcome(0.0)])
    note_item(directory, "test_no_collapse", "half a <nat>")
    view = write_reports(directory)
    assert (view.tone, view.headline) == ("fail", "FAILED: test_no_collapse: half a <nat>")
    assert "test_no_collapse: half a &lt;nat&gt;" in (directory / "report.html").read_text()
    note_item(directory, "test_other", None)
    note_item(directory, "test_no_collapse", None)
    assert write_reports(directory).tone == "pass"


def test_nothing_compared_and_nothing_decided_do_not_look_green(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path, checks=[outcome(0.0)])
    nothing = {
        "schema_version": 1,
        "baseline": "main",
        "pairing": "",
        "missing": "no baseline 'main'",
        "quantities": [],
    }
    write_json(directory / "comparison.json", nothing)
    view = write_reports(directory)
    assert (view.tone, view.headline) == ("inconclusive", "NOT COMPARED: no baseline 'main'; 4 runs; 1 check passed")
    undecided = {**outcome(0.0), "verdict": "inconclusive"}
    row = {"quantity": "delta_h1", "rule": "delta_h1~1%", "before": 1.0, "after": 1.0, "margin": 0.01, "word": "?"}
    record = {**nothing, "missing": None, "quantities": [{**row, "outcome": undecided}]}
    write_json(directory / "comparison.json", record)
    view = write_reports(directory)
    assert view.tone == "inconclusive"
    assert view.headline.startswith("INCONCLUSIVE against the baseline main: δH₁ 1.00 → 1.00 nats (0 %, CI ")
    assert view.headline.count("to decide: ") == 1
    assert view.headline.endswith("; 4 runs; 1 check passed")


@pytest.mark.parametrize("last", [*REPORTS, "index.html"])
def test_a_kill_between_any_two_files_is_made_good_to_the_byte(tmp_path: Path, last: str) -> None:
    """The controller dies before ``last`` is written; what is there then is an older or no file of that name."""
    directory = store_experiment(tmp_path, checks=[outcome(0.0)])
    note_item(directory, "test_x", "no")
    write_session_record(tmp_path, "2026-01-01_00-00-00", [directory])
    assert main(["report", str(tmp_path)]) == 0
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in REPORTS[REPORTS.index(last) :] if last in REPORTS else ():
        (directory / name).unlink()
    for page in tmp_path.rglob("index.html"):
        page.unlink()
    assert main(["report", str(tmp_path)]) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == whole


def test_a_session_is_found_by_its_record_or_by_its_stamp(tmp_path: Path) -> None:
    old = store_experiment(tmp_path, stamp="1")
    new = store_experiment(tmp_path, stamp="2", name="debug", runs=1)
    assert sessions(tmp_path) == {"1": [old], "2": [new]}
    write_session_record(tmp_path, "3", [old, new])
    assert sessions(tmp_path)["3"] == [old, new]
    page = write_index(tmp_path, "3", [write_reports(old), write_reports(new)])
    html = page.read_text()
    for directory in (old, new):
        link = html.split(f">{directory.parent.name}</a>")[0].rpartition('href="')[2].rstrip('"')
        assert (page.parent / unquote(link)).resolve() == directory / "report.html"


JUNIT = """<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" tests="2">
<testcase classname="a" name="test_run[BE1]" time="0.1"><properties><property name="entropy_experiment" value="x"/>
<property name="delta_h1" value="-0.5 &lt;"/></properties><failure message="m">text</failure></testcase>
<testcase classname="b" name="test_other" time="0.1"><properties><property name="mine" value="1"/></properties>
</testcase></testsuite></testsuites>"""


def test_properties_move_to_the_suite_and_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(JUNIT)
    assert keep_to_xunit2(file) == 2
    suite = present(ET.parse(file).getroot().find("testsuite"))
    gathered = {p.get("name"): p.get("value") for p in present(suite.find("properties"))}
    assert gathered == {"a::test_run[BE1]::entropy_experiment": "x", "a::test_run[BE1]::delta_h1": "-0.5 <"}
    first, second = suite.findall("testcase")
    assert [child.tag for child in first] == ["failure"]
    assert [child.tag for child in second] == ["properties"]
    assert keep_to_xunit2(file) == 0


def test_tensorboard_gets_a_curve_per_batch_size(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from pytest_entropy.plugin.tensorboard import write_events

    view = write_reports(store_experiment(tmp_path))
    write_events([view], tmp_path / "board")
    board = str(tmp_path / "board" / "batch_scaling" / view.directory.name)
    # 0: all of them, not a sample.
    events = EventAccumulator(board, size_guidance={"histograms": 0}).Reload()
    assert "delta_h1/B_E 8" in events.Tags()["scalars"]
    seen = [(event.step, event.value) for event in events.Scalars("delta_h1/B_E 8")]
    expected = [(run.run, pytest.approx(run.delta_h1, rel=1e-6)) for run in view.runs if run.B_E == 8]
    assert seen == expected
    slices = [(event.step, event.histogram_value) for event in events.Histograms("eta_s_n/B_E 8")]
    for (step, histogram), run in zip(slices, [run for run in view.runs if run.B_E == 8], strict=True):
        assert (step, histogram.num) == (run.run, 8)
        assert histogram.sum / 8 == pytest.approx(run.delta_h1)
