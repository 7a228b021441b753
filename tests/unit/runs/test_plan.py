"""Names of planned runs: all different, and worked out once however many there are."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from pytest_entropy.runs.plan import Plan
from pytest_entropy.settings.experiments import ExperimentKind
from pytest_entropy.settings.layers import Layer, resolve_config


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
