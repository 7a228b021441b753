"""The recorded statistics of the update's rewards follow from these, and the norms of g and u from g and u."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pytest_entropy.checks.base import ORACLE_TOLERANCE, Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, beyond, identity

NORM_GAP = "update.norm_gap"
# Name, value and scale of each.
Statistics = tuple[tuple[str, float, float], ...]


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the discrepancies of mean reward, spread and norms (relative), and of the share of equal groups."""
    known: list[list[float]] | None = None
    statistics: Statistics = ()
    for run in runs:
        rows = run.rows("update.rewards")
        # All runs of an experiment share one update, as a rule.
        if rows != known:
            known, statistics = rows, _statistics(np.asarray(rows, dtype=float))
        for name, value, scale in statistics:
            yield f"{name} of the update", abs(run.number(f"update.{name}") - value) / scale
        yield "norm of the gradient or of the direction", beyond(run.number(NORM_GAP), ORACLE_TOLERANCE)


def _statistics(rewards: np.ndarray) -> Statistics:
    """The recorded statistics of rewards ``[B_U, G]``."""
    size = float(np.abs(rewards).max()) or 1.0
    return (
        ("reward_mean", float(rewards.mean()), size),
        ("reward_std", float(rewards.std(ddof=1)), size),
        ("degenerate_groups", float((np.ptp(rewards, axis=1) == 0).mean()), 1.0),
    )


CHECK = identity(
    "update_record",
    "mean, spread and equal groups of the update's rewards are those of its rewards, and norms those of its tensors",
    "a mean of the rewards that the rewards do not give, or a norm (gradient_norm, direction_norm) of other entries",
    ("update.rewards", "update.reward_mean", "update.reward_std", "update.degenerate_groups", NORM_GAP),
    discrepancies,
)
