"""The recorded statistics of the update's rewards follow from the recorded rewards."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the discrepancies of the mean reward and its spread (relative), and of the share of equal groups."""
    for run in runs:
        rewards = np.asarray(run.rows("update.rewards"), dtype=float)
        size = float(np.abs(rewards).max()) or 1.0
        for name, value, scale in (
            ("reward_mean", rewards.mean(), size),
            ("reward_std", rewards.std(ddof=1), size),
            ("degenerate_groups", (np.ptp(rewards, axis=1) == 0).mean(), 1.0),
        ):
            yield f"{name} of the update", abs(run.number(f"update.{name}") - float(value)) / scale


CHECK = identity(
    "update_record",
    "mean, spread and equal groups of the update's rewards are those of its rewards",
    "a mean of the rewards that the rewards do not give",
    ("update.rewards", "update.reward_mean", "update.reward_std", "update.degenerate_groups"),
    discrepancies,
)
