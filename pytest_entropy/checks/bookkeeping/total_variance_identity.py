"""The variance over both batches is the sum of its parts, the first of which is the conditional one."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity
from pytest_entropy.records.measured import Measured

PARTS = ("variance_parts.entropy_batch", "variance_parts.update_batch", "variance_parts.interaction")


def has_a_total(runs: Runs, given: Given) -> str:
    """Why there is no total variance."""
    return "" if _with_total(runs) else "total_variance was not asked for, or U is a single prompt"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the discrepancies of each run's total variance, relative to the conditional one."""
    for run in _with_total(runs):
        conditional = run.number("variance_conditional")
        batch, update, shared = (run.number(name) for name in PARTS)
        yield "variance_total", abs(run.number("variance_total") - (batch + update - shared)) / (conditional or 1.0)
        yield "entropy_batch", abs(batch - conditional) / (conditional or 1.0)


def _with_total(runs: Runs) -> list[Measured]:
    return [run for run in runs if run.was_asked("total_variance") and len(run.rows("update.prompts")) >= 2]


CHECK = identity(
    "total_variance_identity",
    "the variance over both batches is V_X + V_Y - T, and V_X is the conditional variance",
    "a variance over update batches that is not the sum of its parts",
    ("asked", "update.prompts", "variance_conditional", "variance_total", *PARTS),
    discrepancies,
    has_a_total,
)
