"""The record of the runs that a target of the error took: what is missing by it, and its audit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pytest_entropy.commands.listing import listing_entry
from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.records.files import write_json
from pytest_entropy.reports.audit.experiment import audit
from pytest_entropy.reports.audit.stored_run import look_before
from pytest_entropy.reports.view import view_experiment
from pytest_entropy.settings.target_error import allowed_error
from pytest_entropy.stats import measurements, pool
from tests.present import present
from tests.unit.reports.stored import store_experiment


@pytest.mark.parametrize("recorded", [True, False])
def test_runs_that_a_target_does_not_need_are_not_missing(tmp_path: Path, recorded: bool) -> None:
    directory = store_experiment(tmp_path, name="own", sizes=(64,), runs=5, target="10%")
    for run in (4, 5):
        shutil.rmtree(directory / f"BE064_run{run:03d}")
    write_target(directory, not_needed=["BE064_run004", "BE064_run005"])
    if not recorded:
        (directory / "target_error.json").unlink()
    view = write_reports(directory)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["missing_runs"] == view.missing == ([] if recorded else ["BE064_run004", "BE064_run005"])
    assert view.headline.startswith("INCOMPLETE") != recorded
    entry = listing_entry(directory, view.manifest)
    assert (entry.done, entry.planned) == (3, 3 if recorded else 5)
    assert audit(directory, look_before(directory)) == []


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("se", 0.5, "se is 0.5"),
        ("allowed", 0.5, "the allowed error is 0.5"),
        ("runs", 4, "the number of runs is 4"),
        ("seconds_per_run", 2.0, "seconds_per_run is 2"),
        ("reached", True, "reached is True"),
        ("not_needed", ["BE064_run002"], "calls BE064_run002 not needed, and it has a result"),
    ],
)
def test_the_audit_names_each_number_of_a_target_that_is_changed(
    tmp_path: Path, key: str, value: object, says: str
) -> None:
    directory = store_experiment(tmp_path, name="own", sizes=(64,), runs=3, target="0.1%")
    write_target(directory)
    write_reports(directory)
    assert audit(directory, look_before(directory)) == []
    file = directory / "target_error.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    (found,) = audit(directory, look_before(directory))
    assert f"target_error.json: {says}" in found


def write_target(directory: Path, **more: object) -> None:
    """The record of the runs that a target took, as a session writes it."""
    view = view_experiment(directory)
    mean = pool(measurements(view.runs))
    allowed = allowed_error(view.config["batch_config"]["target_se"], mean.value)
    record = {
        "target_se": view.config["batch_config"]["target_se"], "allowed": allowed, "se": mean.se,
        "reached": present(mean.se) <= allowed, "runs": len(view.runs), "most_runs": 5, "pilot_runs": 4,
        "predicted_runs": None, "seconds_per_run": 0.75, "not_needed": [],
    }  # fmt: skip
    write_json(directory / "target_error.json", {**record, **more})
