"""An eta sweep's record and figure against the stored arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_entropy.checks.summaries.single_run import conclusion, single_run_analysis
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.files import write_json
from pytest_entropy.records.serialization import plain
from pytest_entropy.reports.audit.experiment import audit
from pytest_entropy.reports.audit.stored_run import look_before
from pytest_entropy.runs.run_files import read_run
from tests.unit.reports.stored import ETA, store_experiment

STEPS = np.array([-2.0, -1.0, 1.0, 2.0, 4.0]) * ETA


def swept(root: Path) -> Path:
    """A single run with a sweep whose changes are cubic in the step, prompt by prompt, and noisy."""
    directory = store_experiment(root, name="single_run", sizes=(16,), runs=1)
    (file,) = directory.glob("*/results.json")
    s = np.array(json.loads(file.read_text())["per_prompt"])
    rng = np.random.default_rng(3)
    curvature, noise = rng.normal(2e4, 1e4, 16), rng.normal(0, 1e-5, (5, 16))
    change = STEPS[:, None] * s + STEPS[:, None] ** 2 * curvature + noise
    arrays = {
        "eta": np.array(ETA), "unit": np.array(ETA), "steps": STEPS, "change": change, "self_normalised": change + 1e-6,
        "ess": np.linspace(0.9, 0.4, 5), "group_ess": np.full(5, 0.95), "khat": np.array([0.1, 0.2, np.nan, 0.3, 0.4]),
        "rounding": np.zeros(5), "floor": np.full(16, 1e-7), "fresh_steps": np.zeros(0), "fresh": np.zeros((0, 16)),
        "fresh_changed": np.zeros(0, dtype=int),
    }  # fmt: skip
    np.savez(file.parent / "arrays.npz", **{f"sweep_{name}": values for name, values in arrays.items()})
    run = read_run(file.parent)
    analysis = single_run_analysis([run], confidence=0.95, tolerance=0.1)
    write_json(directory / "single_test_results.json", plain(analysis))
    verdict, reason = conclusion([run], analysis.eta_sweep)
    write_json(directory / "conclusion.json", {"verdict": verdict, "reason": reason})
    return directory


def audited(directory: Path) -> list[str]:
    before = look_before(directory)
    write_reports(directory)
    return audit(directory, before)


def test_a_sweep_agrees_with_its_arrays(tmp_path: Path) -> None:
    directory = swept(tmp_path)
    record = json.loads((directory / "single_test_results.json").read_text())["eta_sweep"]
    assert len(record["fitted_steps"]) == 4
    assert record["eta_star"] is not None
    assert audited(directory) == []


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "intercept": lambda record: record.update(intercept=-record["intercept"]),
    "delta_h2": lambda record: record.update(delta_h2=record["delta_h2"] / 2),
    "eta_star": lambda record: record.update(eta_star=record["eta_star"] / 2),
    "delta_h1_over_eta": lambda record: record.update(delta_h1_over_eta=ETA * record["delta_h1_over_eta"]),
    "intercept_se": lambda record: record.update(intercept_se=4 * record["intercept_se"]),
    "the slope at the step 0.0008 of": lambda record: record["points"][4].update(trusted=True),
    "slope at the step 0.0004": lambda record: record["points"][3].update(slope=0.0),
}


@pytest.mark.parametrize("number", CHANGES)
def test_a_number_of_the_sweep_that_is_changed_is_named(tmp_path: Path, number: str) -> None:
    directory = swept(tmp_path)
    file = directory / "single_test_results.json"
    record = json.loads(file.read_text())
    CHANGES[number](record["eta_sweep"])
    write_json(file, record)
    found = audited(directory)
    assert any("single_test_results.json" in line for line in found), found
    assert any(number in line for line in found), found


def test_steps_backwards_that_were_not_taken_are_named(tmp_path: Path) -> None:
    directory = swept(tmp_path)
    (file,) = directory.glob("*/arrays.npz")
    with np.load(file) as archive:
        arrays = dict(archive)
    arrays["sweep_change"][0], arrays["sweep_change"][1] = -arrays["sweep_change"][3], -arrays["sweep_change"][2]
    np.savez(file, **arrays)
    analysis = single_run_analysis([read_run(file.parent)], confidence=0.95, tolerance=0.1)
    write_json(directory / "single_test_results.json", plain(analysis))
    assert any("with the other sign" in line for line in audited(directory))
