"""An experiment as its directory tells it: typed, whole, and strict about numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.run import RunRecord
from pytest_entropy.reports.view import view_experiment
from tests.unit.plugin.test_session_end import outcome
from tests.unit.reports.stored import store_experiment

# Of schema version 1 before there were these.
CAME_LATER = (
    "unit", "mode", "variance_total", "se_total", "variance_parts", "u_statistic", "notes", "diagnostics", "memory_mb",
    "asked", "sampling_fraction", "expected_surprises",
)  # fmt: skip


def change(directory: Path, **values: Any) -> None:
    """Change the first run's record; ``...`` takes the key away."""
    file = directory / "BE008_run001" / "results.json"
    record = {**read_json(file), **values}
    file.write_text(json.dumps({key: value for key, value in record.items() if value is not ...}))


def test_runs_are_records_without_what_only_checks_need(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    view = view_experiment(directory)
    for run in view.runs:
        whole = RunRecord.from_dict(read_json(directory / run.directory / "results.json"))
        assert (run.B_E, run.delta_h1, list(run.per_prompt)) == (whole.B_E, whole.delta_h1, list(whole.per_prompt))
        assert (run.update.prompts, run.diagnostics) == ([], {})
    assert view.update is None
    assert view.comparison is None


def test_a_result_of_the_first_version_is_read(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    change(directory, **dict.fromkeys(CAME_LATER, ...))
    view = view_experiment(directory)
    assert view.failures == {}
    assert (view.runs[0].unit, view.runs[0].mode, view.runs[0].se_total) == ("nats per response", "two_batch", None)


@pytest.mark.parametrize(
    "key",
    ["delta_h1", "variance_conditional", "se_conditional", "eta", "entropy_mean", "entropy_se", "length_mean",
     "peak_memory_mb", "se_total", "variance_total"],
)  # fmt: skip
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1"])
def test_a_number_that_is_none_makes_a_failed_run(tmp_path: Path, key: str, value: float | str) -> None:
    directory = store_experiment(tmp_path, sizes=(8,), runs=2)
    change(directory, **{key: value})
    view = view_experiment(directory)
    assert [run.directory for run in view.runs] == ["BE008_run002"]
    (name, text), *more = view.failures.items()
    assert (name, more) == ("BE008_run001", [])
    assert text.startswith("BE008_run001/results.json cannot be read: RecordError: ")
    assert key in text
    assert view.headline.startswith("FAILED: 1 of 2 runs gave no result: ")


@pytest.mark.parametrize(
    "values",
    [
        {"per_prompt": [1.0, float("nan")]},
        {"per_prompt": None},
        {"seconds": {"sampling": float("inf")}},
        {"delta_h1": ...},
        {"B_E": True},
        {"update": []},
    ],
)
def test_a_record_that_is_none_makes_a_failed_run(tmp_path: Path, values: dict[str, object]) -> None:
    directory = store_experiment(tmp_path, sizes=(8,), runs=1)
    change(directory, **values)
    assert list(view_experiment(directory).failures) == ["BE008_run001"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("comparison.json", {"baseline": "main"}, "is not a comparison: RecordError: quantities"),
        ("comparison.json", [1], "holds list"),
        ("conclusion.json", {"verdict": 1}, "is not a conclusion: RecordError: verdict"),
        ("check_x.json", {"name": "x"}, "is not the outcome of a check"),
        ("update/update.json", {"eta": "much"}, "is not an update batch: RecordError: eta"),
        ("plugin_analyses.json", [1], "holds list"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, content: dict[str, str | int] | list[int], says: str
) -> None:
    directory = store_experiment(tmp_path)
    (directory / name).parent.mkdir(exist_ok=True)
    write_json(directory / name, content)
    with pytest.raises(UsageError, match=says):
        view_experiment(directory)


def test_a_newer_schema_is_refused_by_its_version(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path)
    write_json(directory / "experiment.json", {**read_json(directory / "experiment.json"), "schema_version": 2})
    with pytest.raises(UsageError, match="has schema version 2, this version reads 1"):
        view_experiment(directory)


def test_outcomes_and_conclusion_are_types(tmp_path: Path) -> None:
    directory = store_experiment(tmp_path, checks=[outcome(0.0)])
    write_json(directory / "conclusion.json", {"schema_version": 1, "experiment": "x", "verdict": "v", "reason": "r"})
    view = view_experiment(directory)
    assert view.checks["score_identity"].to_dict() == outcome(0.0)
    assert (view.verdict, view.reason) == ("v", "r")
