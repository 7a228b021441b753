"""One prompt's product and row mean in a single batch equal their definitions (docs/mathematics.md §5)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, beyond, identity, single_batches
from pytest_entropy.checks.rounding.tolerances import SCALAR_NEEDS, scalar_tolerance

GAP, ROW_GAP, BLOCKS = "u_statistic.diagonal_gap", "u_statistic.row_gap", "u_statistic.blocks"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancies of a prompt's product and row mean from definitions, for each single batch."""
    for run in runs:
        if run.is_single_batch:
            tolerance = scalar_tolerance([run])
            yield "diagonal_gap", beyond(run.number(GAP), tolerance)
            # Of blocks no row mean is computed a second time.
            if run.number(BLOCKS) == run.B_E:
                yield "row_gap", beyond(run.number(ROW_GAP), tolerance)


CHECK = identity(
    "single_batch_definition",
    "a prompt's product with its own block, and its row mean, are what the estimator's definition gives",
    "an estimator other than its definition, or row means of one side alone",
    (GAP, ROW_GAP, BLOCKS, *SCALAR_NEEDS),
    discrepancies,
    single_batches,
)
