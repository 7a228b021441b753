"""The update direction of a single batch equals a real optimizer's step."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import ORACLE_TOLERANCE, Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, beyond, identity, single_batches


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancy of each single batch's direction from the optimizer's step."""
    for run in runs:
        if run.is_single_batch:
            yield "oracle_gap", beyond(run.number("update.oracle_gap"), ORACLE_TOLERANCE)


CHECK = identity(
    "single_batch_step",
    "the direction of a single batch is a real optimizer's step",
    "an optimizer's step other than its definition",
    ("update.oracle_gap",),
    discrepancies,
    single_batches,
)
