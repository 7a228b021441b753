"""Each recorded reward is that of its own completion."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, definition_not_asked, identity, with_definition
from pytest_entropy.records.measured import Measured


def asked_twice(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply: no reward was computed a second time; "" where one was."""
    return definition_not_asked(runs, given) or ("" if _rechecked(runs) else "no reward was computed a second time")


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the largest difference between a recorded reward and the same completion's reward computed again."""
    for run in _rechecked(runs):
        yield "reward_gap", run.number("update.reward_gap")


def _rechecked(runs: Runs) -> list[Measured]:
    return [run for run in with_definition(runs) if run.rewards_rechecked is not False]


CHECK = identity(
    "rewards_belong",
    "a reward is that of its own completion",
    "rewards of another prompt or response",
    ("asked", "update.reward_gap"),
    discrepancies,
    asked_twice,
)
