"""One prompt's product in a single batch equals the estimator's definition (docs/mathematics.md §5)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import ROUNDING, SCALAR_ROUNDINGS, SCALAR_TOLERANCE, Given, Runs, rounding
from pytest_entropy.checks.bookkeeping.base import Discrepancy, beyond, identity, single_batches

GAP = "u_statistic.diagonal_gap"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancy of one prompt's product from its definition, for each single batch."""
    for run in runs:
        if run.is_single_batch:
            tolerance = max(SCALAR_TOLERANCE, SCALAR_ROUNDINGS * rounding([run]))
            yield "diagonal_gap", beyond(run.number(GAP), tolerance)


CHECK = identity(
    "single_batch_definition",
    "a prompt's product with its own block is what the estimator's definition gives",
    "an estimator other than its definition",
    (GAP, ROUNDING),
    discrepancies,
    single_batches,
)
