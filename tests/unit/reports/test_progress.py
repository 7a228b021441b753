"""Remaining time: runs weighted by their size, at the pace so far, seldom."""

from __future__ import annotations

import pytest

from pytest_entropy.records.item import ItemReport
from pytest_entropy.reports.progress import Progress

IDS = [f"test_x.py::test_run[BE{size:03d}-run{run:03d}]" for size in (10, 30) for run in (1, 2)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_rest_is_reckoned_by_size(clock: Clock) -> None:
    progress = Progress(clock)
    progress.expect([*IDS, "test_x.py::test_other", "test_x.py::test_param[7]"])
    clock.now = 20.0
    assert progress.note(ItemReport(nodeid=IDS[0])) == "entropy: 1 of 4 runs, about 2 min left"
    clock.now = 25.0
    assert progress.note(ItemReport(nodeid=IDS[1])) is None, "not every five seconds"
    clock.now = 100.0
    assert progress.note(ItemReport(nodeid=IDS[2])) == "entropy: 3 of 4 runs, about 60 s left"
    assert progress.note(ItemReport(nodeid=IDS[3])) is None, "nothing is left"
    assert progress.note(ItemReport(nodeid="test_x.py::test_other")) is None


def test_runs_from_the_store_cost_nothing(clock: Clock) -> None:
    progress = Progress(clock)
    progress.expect(IDS)
    clock.now = 50.0
    assert progress.note(ItemReport(nodeid=IDS[0], stored=True)) is None, "no pace yet"
    assert progress.note(ItemReport(nodeid=IDS[1])) == "entropy: 2 of 4 runs, about 5 min left"


def test_a_run_that_a_target_does_not_need_costs_nothing_and_the_rest_is_an_upper_bound(clock: Clock) -> None:
    progress = Progress(clock)
    progress.expect([f"test_x.py::test_run[BE010-run{run:03d}]" for run in range(1, 8)])
    clock.now = 20.0
    first = ItemReport(nodeid="test_x.py::test_run[BE010-run001]", pilot="pilot of 256 prompts", delta_h1=1.0)
    assert progress.note(first) == "entropy: 1 of 7 runs, at most 2 min left"
    clock.now = 40.0
    skipped = ItemReport(nodeid="test_x.py::test_run[BE010-run007]", outcome="skipped")
    assert progress.note(skipped) == "entropy: 2 of 7 runs, at most 3 min left"
    clock.now = 60.0
    inconclusive = ItemReport(nodeid="test_x.py::test_run[BE010-run002]", outcome="skipped", delta_h1=1.0)
    assert progress.note(inconclusive) == "entropy: 3 of 7 runs, at most 2 min left"


def test_a_run_reported_twice_counts_once(clock: Clock) -> None:
    progress = Progress(clock)
    progress.expect(IDS)
    clock.now = 20.0
    progress.note(ItemReport(nodeid=IDS[0]))
    clock.now = 40.0
    assert progress.note(ItemReport(nodeid=IDS[0])) is None
