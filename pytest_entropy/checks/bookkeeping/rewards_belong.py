"""Rewards belong to their completions."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity, looked_at, was_looked_at
from pytest_entropy.records.measured import Measured


def asked_twice(runs: Runs, given: Given) -> str:
    """Why rewards that are not asked for twice have nothing to be compared with."""
    return was_looked_at(runs, given) or ("" if _rechecked(runs) else "the reward function is not asked twice")


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the largest difference of a reward from its completion's own."""
    for run in _rechecked(runs):
        yield "reward_gap", run.number("update.reward_gap")


def _rechecked(runs: Runs) -> list[Measured]:
    return [run for run in looked_at(runs) if run.rewards_rechecked is not False]


CHECK = identity(
    "rewards_belong",
    "a reward is that of its own completion",
    "rewards of another prompt or response",
    ("asked", "update.reward_gap"),
    discrepancies,
    asked_twice,
)
