"""A single batch's delta_h1 is the U-statistic of its recorded parts (docs/mathematics.md §5)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import (
    SUMMING_TOLERANCE,
    Discrepancy,
    beyond,
    identity,
    scaled,
    single_batches,
    size_of,
)
from pytest_entropy.checks.rounding.tolerances import SCALAR_NEEDS, coarse, scalar_tolerance

PARTS = ("u_statistic.blocks", "u_statistic.plug_in", "u_statistic.diagonal")


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancy of each single batch's delta_h1 from the U-statistic of its recorded parts."""
    for run in runs:
        if not run.is_single_batch:
            continue
        blocks, plug_in, diagonal = (run.number(name) for name in PARTS)
        value = (blocks * plug_in - diagonal) / (blocks - 1)
        discrepancy = abs(run.number("delta_h1") - run.number("eta") * value) / size_of(scaled(run))
        # The two sides sum float32 products in different orders; a diagonal that was kept is of order one.
        tolerance = scalar_tolerance([run]) if coarse([run]) else SUMMING_TOLERANCE
        yield "U-statistic", beyond(discrepancy, tolerance)


CHECK = identity(
    "single_batch_identity",
    "delta_h1 of a single batch is its U-statistic, without the products of a prompt with itself",
    "the products of a prompt with itself kept, which is a bias of order 1/B",
    (*PARTS, "delta_h1", "eta", "per_prompt", *SCALAR_NEEDS),
    discrepancies,
    single_batches,
)
