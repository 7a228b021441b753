"""What an item reports, in parts and put together, by the names that JUnit files have had all along."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_entropy.plugin.attempts import EXPERIMENT_PROPERTY
from pytest_entropy.records.item import ItemReport
from tests.unit.reports.stored import result, scalars

OF_A_RUN = {
    "B_E", "run", "delta_h1", "se_conditional", "mode", "sampling_fraction", "signal_to_noise",
    "signal_to_noise_label", "unit", "seconds", "peak_memory_mb", "entropy_mean", "stored",
}  # fmt: skip


def measured(**more: Any) -> ItemReport:
    return ItemReport.of_run(replace(result(8, 2, scalars(np.random.default_rng(0), 8)), **more), stored=False)


def test_a_runs_properties_have_their_names_and_are_plain() -> None:
    told = dict(measured().to_properties())
    assert set(told) == OF_A_RUN
    json.dumps(told, allow_nan=False)
    assert told["stored"] is False
    assert told["seconds"] == 0.75


def test_an_unknown_error_is_said_and_the_error_over_updates_only_where_it_was_computed() -> None:
    told = dict(measured(se_conditional=None).to_properties())
    assert told["se_conditional"] is None
    assert told["signal_to_noise"] is None
    more = dict(measured(se_total=0.1, variance_total=0.01, notes=["a", "b"]).to_properties())
    assert set(more) == OF_A_RUN | {"se_total", "variance_total", "notes"}
    assert more["notes"] == "a; b"


def test_the_parts_of_an_item_are_put_together() -> None:
    parts = [
        ItemReport(experiment="debug", directory="results/debug/x"),
        measured(),
        ItemReport(verdict="measured", reason="because"),
        ItemReport(p_values={"se_slope": 0.25, "draws": None}),
        ItemReport(inconclusive="too few"),
    ]
    properties = [entry for part in parts for entry in part.to_properties()]
    names = {"entropy_experiment", "entropy_directory", "entropy_verdict", "entropy_reason", "entropy_inconclusive"}
    assert {name for name, _ in properties} == OF_A_RUN | names | {"entropy_p_se_slope", "entropy_p_draws"}
    assert EXPERIMENT_PROPERTY in names
    whole = ItemReport.from_properties([*properties, ("of another plugin", 1)], nodeid="a::test_x", outcome="passed")
    assert whole == replace(
        measured(), experiment="debug", directory="results/debug/x", verdict="measured", reason="because",
        p_values={"se_slope": 0.25, "draws": None}, inconclusive="too few", nodeid="a::test_x", outcome="passed",
    )  # fmt: skip
    assert whole.name == "test_x"


def test_a_failed_run_says_which_it_was() -> None:
    assert ItemReport(B_E=8, run=2).to_properties() == [("B_E", 8), ("run", 2)]
    assert ItemReport().to_properties() == []
