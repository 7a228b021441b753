"""Which runs a target of the error takes: the same in whatever order they are asked for, and no failure is hidden."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.target_error import TargetRecord
from pytest_entropy.runs.plan import Plan
from pytest_entropy.runs.store import FailedRun
from pytest_entropy.runs.target_runs import TargetRuns
from pytest_entropy.settings.layers import Layer, resolve_config
from tests.unit.reports.stored import ETA, result

B_E, MOST = 64, 16
# After the pilot, 4 runs of 64 prompts, the error is about 1/16 of this.
SPREAD = 50 * ETA


class Session:
    """Runs of one experiment as a store keeps them; the numbers in ``fails`` fail."""

    def __init__(self, root: Path, target: str | None, *, most: int = MOST, updates: int = 1) -> None:
        self.root, self.fails, self.computed = root, set[int](), list[int]()
        batch = {"B_E_values": [B_E], "runs_per_batch": most // updates, "updates": updates, "target_se": target}
        plan = SimpleNamespace(
            resolved=resolve_config([Layer("x", {"batch_config": batch})]),
            directory=root,
            runs=[(B_E, run) for run in range(1, most + 1)],
            run_directory=lambda B_E, run: f"BE{B_E:03d}_run{run:03d}",
        )
        self.plan = cast("Plan", plan)
        root.mkdir(exist_ok=True)
        self.manifest()
        self.target = TargetRuns(self.plan, self.run)

    def manifest(self) -> None:
        if not (self.root / "experiment.json").is_file():
            record = {"schema_version": 1, "experiment": "single_run", "stamp": "s", "checkpoint_digest": "c"}
            planned = [self.plan.run_directory(*one) for one in self.plan.runs]
            write_json(self.root / "experiment.json", {**record, "planned_runs": planned})

    def run(self, number: int) -> RunRecord:
        place = self.root / self.plan.run_directory(B_E, number)
        if (place / "results.json").is_file():
            return RunRecord.from_json((place / "results.json").read_bytes(), directory=place.name)
        place.mkdir(exist_ok=True)
        if number in self.fails:
            (place / "error.txt").write_text("ValueError: no luck\n")
            raise FailedRun("session s\nValueError: no luck\n", place / "error.txt")
        self.computed.append(number)
        scalars = -100 + 50 * np.random.default_rng(number).standard_normal(B_E)
        write_json(place / "results.json", result(B_E, number, scalars).to_dict())
        return self.run(number)

    def item(self, number: int) -> str:
        """What the item of a run does."""
        reason = self.target.not_needed(number)
        if not reason:
            try:
                self.run(number)
            except FailedRun:
                return "failed"
        return reason

    @property
    def stored(self) -> list[int]:
        return sorted(int(file.parent.name[-3:]) for file in self.root.glob("*/results.json"))

    @property
    def record(self) -> TargetRecord:
        return TargetRecord.from_dict(read_json(self.root / "target_error.json"))


def error(runs: int) -> str:
    """A target that takes about so many runs."""
    return f"{SPREAD / (B_E * runs) ** 0.5}"


def in_order(session: Session) -> list[str]:
    return [session.item(number) for number in range(1, len(session.plan.runs) + 1)]


def test_runs_are_taken_in_order_until_the_target_is_reached(tmp_path: Path) -> None:
    session = Session(tmp_path / "x", error(9))
    reasons = in_order(session)
    taken = len(session.stored)
    assert 4 < taken < MOST
    assert session.stored == session.computed == list(range(1, taken + 1))
    assert reasons[:taken] == [""] * taken
    assert set(reasons[taken:]) == {reasons[-1]}
    assert reasons[-1].startswith("not needed: the error 0.0004")
    assert reasons[-1].endswith(f" after {taken} runs is within --entropy-target-se {session.record.target_se}")
    record = session.record
    assert record.reached
    assert record.se is not None
    assert record.se <= record.allowed
    assert (record.runs, record.most_runs, record.pilot_runs) == (taken, MOST, 4)
    assert record.predicted_runs is not None
    assert record.seconds_per_run == pytest.approx(0.75)
    assert record.not_needed == [f"BE064_run{run:03d}" for run in range(taken + 1, MOST + 1)]


@pytest.mark.parametrize("target", [error(2), error(9), "3%", error(100)])
@pytest.mark.parametrize("updates", [1, 2])
def test_the_order_in_which_workers_ask_changes_nothing(tmp_path: Path, target: str, updates: int) -> None:
    alone = Session(tmp_path / "alone", target, updates=updates)
    in_order(alone)
    alone.target.keep()
    for seed in range(4):
        root = tmp_path / str(seed)
        workers = [Session(root, target, updates=updates) for _ in range(3)]
        numbers = list(range(1, MOST + 1))
        random.Random(seed).shuffle(numbers)
        for n, number in enumerate(numbers):
            workers[n % 3].item(number)
        workers[0].target.keep()
        assert workers[0].stored == alone.stored
        assert workers[0].record == alone.record
    assert len(alone.stored) % updates == 0


def test_a_target_that_the_pilot_reaches_takes_no_more(tmp_path: Path) -> None:
    session = Session(tmp_path / "x", error(2))
    in_order(session)
    assert session.stored == [1, 2, 3, 4]
    assert session.record.reached


def test_a_target_out_of_reach_takes_all_runs_and_the_record_says_so(tmp_path: Path) -> None:
    session = Session(tmp_path / "x", error(100))
    assert in_order(session) == [""] * MOST
    session.target.keep()
    record = session.record
    assert (record.reached, record.runs, record.not_needed) == (False, MOST, [])
    assert record.predicted_runs is not None
    assert record.predicted_runs > MOST


@pytest.mark.parametrize("fails", [2, 6])
def test_after_a_failure_every_run_is_needed_and_the_decision_comes_when_it_is_made_good(
    tmp_path: Path, fails: int
) -> None:
    session = Session(tmp_path / "x", error(7))
    session.fails = {fails}
    reasons = in_order(session)
    assert reasons == ["failed" if run == fails else "" for run in range(1, MOST + 1)]
    session.target.keep()
    assert not (session.root / "target_error.json").exists()
    again = Session(tmp_path / "x", error(7))
    # What is stored is reported, so that the mean is over it.
    assert in_order(again) == [""] * MOST
    again.target.keep()
    assert (again.record.runs, again.record.reached, again.record.not_needed) == (MOST, True, [])


def test_a_failure_that_another_runs_decision_meets_is_told_by_that_run(tmp_path: Path) -> None:
    session = Session(tmp_path / "x", error(7))
    session.fails = {2}
    assert session.target.not_needed(9) == ""
    assert session.target.failure is not None
    assert session.target.failure.news is not None


def test_without_a_target_no_file_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path / "x", None)

    def touched(*arguments: object, **named: object) -> Any:
        raise AssertionError("a file was looked at")

    for name in ("read_json", "write_json"):
        monkeypatch.setattr(f"pytest_entropy.runs.target_runs.{name}", touched)
    monkeypatch.setattr("pytest_entropy.runs.target_runs.os.path.isdir", touched)
    monkeypatch.setattr("pytest_entropy.runs.target_runs.os.path.isfile", touched)
    assert {session.target.not_needed(run) for run in range(1, MOST + 1)} == {""}
    session.target.keep()
    session.target.log_pilot()
    assert session.target.pilot_in_words() == ""


@pytest.mark.parametrize(
    ("target", "most", "says"),
    [
        (error(9), 16, r"error 0\.00\d+ of 0\.0\d+ asked for; about (8|9|10) runs of 64 prompts, 1 s each, at most 16"),
        (error(2), 16, r"asked for: reached"),
        (error(60), 16, r"about \d\d runs of 64 prompts, 1 s each, and at most 16 are taken: give --runs \d\d"),
        ("5%", 16, r"of 5% \(0\.00\d+\) asked for"),
        # There is nothing to decide.
        (error(9), 4, ""),
    ],
)
def test_the_pilot_says_what_it_will_cost(tmp_path: Path, target: str, most: int, says: str) -> None:
    session = Session(tmp_path / "x", target, most=most)
    for number in (2, 1, 4):
        session.item(number)
        assert session.target.pilot_in_words() == ""
    session.item(3)
    words = session.target.pilot_in_words()
    assert words.startswith("pilot of 256 prompts: error 0.0") or not says
    assert bool(words) == bool(says)
    assert re.search(says, words), words


def test_what_an_earlier_session_decided_is_not_said_again_but_a_new_target_is(tmp_path: Path) -> None:
    in_order(Session(tmp_path / "x", error(5)))
    assert Session(tmp_path / "x", error(5)).target.pilot_in_words() == ""
    assert Session(tmp_path / "x", error(9)).target.pilot_in_words()


def test_another_target_goes_on_with_the_stored_runs(tmp_path: Path) -> None:
    first = Session(tmp_path / "x", error(5), most=8)
    in_order(first)
    before = first.stored
    second = Session(tmp_path / "x", error(11), most=14)
    # Until it is decided, runs that it may need are missing.
    second.item(len(before) + 1)
    assert not (tmp_path / "x" / "target_error.json").exists()
    in_order(second)
    assert second.computed == list(range(len(before) + 1, len(second.stored) + 1))
    assert second.record.runs == len(second.stored) > len(before)
    planned = json.loads((tmp_path / "x" / "experiment.json").read_text())["planned_runs"]
    assert planned == [f"BE064_run{run:03d}" for run in range(1, 15)]
    looser = Session(tmp_path / "x", error(5), most=14)
    in_order(looser)
    assert looser.computed == []
    assert looser.record.runs == len(second.stored)


def test_the_records_types() -> None:
    kept: Callable[[Any], TargetRecord] = TargetRecord.from_dict
    record = TargetRecord(
        target_se="10%", allowed=0.1, se=None, reached=False, runs=1, most_runs=2, pilot_runs=1, predicted_runs=None,
        seconds_per_run=1.0,
    )  # fmt: skip
    assert kept(record.to_dict()) == record
    assert record.in_words() == "target NOT reached: no error after 1 of at most 2 runs, 0.1 (10%) asked for"
