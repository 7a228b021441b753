"""Tables of an experiment against its runs' own files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_entropy.reports.tables import size_table, summary_of, to_csv
from pytest_entropy.reports.view import view_experiment
from pytest_entropy.stats import format_measure
from tests.unit.reports.stored import store_experiment


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return store_experiment(tmp_path)


@pytest.fixture
def records(directory: Path) -> dict[str, dict[str, Any]]:
    """What the runs' files hold, by directory."""
    return {file.parent.name: json.loads(file.read_text()) for file in directory.glob("*/results.json")}


def test_every_number_of_the_csv_is_the_runs_own_to_the_last_digit(
    directory: Path, records: dict[str, dict[str, Any]]
) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(view_experiment(directory)))))
    assert {row["directory"] for row in rows} == set(records)
    for row in rows:
        run = records[row["directory"]]
        for column in ("B_E", "run", "delta_h1", "se_conditional", "entropy_mean", "length_mean", "eta", "seed"):
            assert float(row[column]) == run[column], column
        assert float(row["signal_to_noise"]) == pytest.approx(abs(run["se_conditional"] / run["delta_h1"]))
        assert float(row["seconds"]) == pytest.approx(sum(run["seconds"].values()))


def test_the_summary_has_the_same_rows(directory: Path, records: dict[str, dict[str, Any]]) -> None:
    rows = summary_of(view_experiment(directory)).runs
    assert {row.directory: row.delta_h1 for row in rows} == {name: r["delta_h1"] for name, r in records.items()}


def test_the_mean_of_a_size_has_the_error_of_a_mean(directory: Path, records: dict[str, dict[str, Any]]) -> None:
    """Of independent runs: the root of the summed variances over their number, from the scalars themselves."""
    table = size_table(view_experiment(directory)).sizes
    assert [row.B_E for row in table] == sorted({run["B_E"] for run in records.values()})
    for row in table:
        runs = [run for run in records.values() if run["B_E"] == row.B_E]
        s = [run["eta"] * np.array(run["per_prompt"]) for run in runs]
        mean = np.mean([own.mean() for own in s])
        se = sum(own.var(ddof=1) / len(own) for own in s) ** 0.5 / len(s)
        assert row.runs == len(runs)
        assert row.measure == format_measure(mean, se)
        assert row.ratio == pytest.approx(abs(se * len(runs) ** 0.5 / mean))
