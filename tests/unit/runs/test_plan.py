"""Names of planned runs: all different, and worked out once however many there are."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.runs.plan import Plan
from pytest_entropy.settings.experiments import KNOWN, ExperimentKind
from pytest_entropy.settings.layers import Layer, resolve_config
from tests.unit.reports.stored import store_experiment


class Counted(str):
    """A pattern that counts how often it is filled in."""

    times = 0

    def format(self, *args: Any, **kwargs: Any) -> str:
        Counted.times += 1
        return super().format(*args, **kwargs)


def plan(pattern: str, sizes: list[int], runs: int) -> Plan:
    layer = Layer("test", {"batch_config": {"B_E_values": sizes, "runs_per_batch": runs}})
    kind = ExperimentKind("mine", "mine", Counted(pattern))
    # Names depend on nothing else.
    nothing: Any = None
    rest = {one.name: nothing for one in fields(Plan)[2:]}
    return Plan(kind, resolve_config([layer]), **{**rest, "stamp": "t", "resumed": False})


@pytest.mark.parametrize(
    ("pattern", "sizes", "last"),
    [
        ("BE{B_E:03d}_run{run:03d}", [4, 8, 16, 32, 64], "BE064_run1000"),
        ("run{run:03d}", [4], "run5000"),
        # One name for several runs: that of every run instead.
        ("run{run:03d}", [4, 8, 16, 32, 64], "BE064_run1000"),
    ],
)
def test_names_of_5000_runs_are_worked_out_once(pattern: str, sizes: list[int], last: str) -> None:
    own = plan(pattern, sizes, 5000 // len(sizes))
    Counted.times = 0
    for _ in range(3):
        names = [own.run_directory(b, r) for b, r in own.runs]
    assert len(set(names)) == len(own.ids) == len(own.runs) == 5000
    assert names[-1] == last
    # Once to see whether they differ, and once for every name that is asked for.
    assert Counted.times <= 5000 + 3 * 5000
    assert own.runs is own.runs
    assert own.ids is own.ids


def test_another_plan_made_of_one_has_names_of_its_own() -> None:
    first = plan("run{run:03d}", [4], 2)
    assert first.run_directory(4, 2) == "run002"
    second = replace(first, resolved=plan("", [4, 8], 2).resolved)
    assert second.runs == [(4, 1), (4, 2), (8, 1), (8, 2)]
    assert len({second.run_directory(b, r) for b, r in second.runs}) == 4


@pytest.mark.parametrize(
    ("name", "size", "directory"),
    [
        ("batch_scaling", 16, "BE016_run001"),
        ("sanity_check", 256, "run001"),
        ("single_run", 256, "BE256_BU32"),
        ("debug", 16, "debug_BE016"),
    ],
)
def test_directories_are_called_as_in_the_old_readme(name: str, size: int, directory: str) -> None:
    own = replace(plan("", [size], 1), kind=KNOWN[name])
    assert own.run_directory(size, 1) == directory


@pytest.mark.parametrize("began", ["BE064_BU032", "BE064_BU32"])
def test_an_experiment_of_an_earlier_version_goes_on_under_its_names(tmp_path: Path, began: str) -> None:
    directory = store_experiment(tmp_path, name="single_run", sizes=(64,), runs=1)
    manifest = json.loads((directory / "experiment.json").read_text())
    (directory / "experiment.json").write_text(json.dumps({**manifest, "planned_runs": [began]}))
    own = replace(plan("", [64], 1), kind=KNOWN["single_run"], directory=directory)
    assert own.run_directory(64, 1) == "BE064_BU32"
    assert replace(own, resumed=True).run_directory(64, 1) == began
