"""V_Y, T and the certainty of both follow from their scalars, two a prompt of U, and these from their definitions."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import SUMMING_TOLERANCE, Discrepancy, beyond, identity
from pytest_entropy.checks.bookkeeping.total_variance_identity import PARTS, has_a_total, with_total
from pytest_entropy.checks.rounding.tolerances import SCALAR_NEEDS, scalar_tolerance
from pytest_entropy.records.measured import Measured

PRODUCTS, DEFINITION = "arrays.update_products", "variance_parts.definition"
ERROR, SKEWNESS = "variance_parts.standard_error", "variance_parts.update_skewness"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the discrepancies of V_Y and T, relative to V_Y, and of their scalars from the definitions."""
    for run in with_total(runs):
        update_batch, interaction = (run.number(name) for name in PARTS[1:])
        products = run.array(PRODUCTS).tolist()
        yield "prompts of U in update_batch", float(abs(len(products) - len(run.rows("update.prompts"))))
        first, second = ([row[half] for row in products] for half in (0, 1))
        # The first half of E has the odd prompt.
        share = (run.B_E + 1) // 2 / run.B_E
        whole = [share * a + (1 - share) * b for a, b in zip(first, second, strict=True)]
        scale = run.number("eta") ** 2 / len(products)
        over_u = scale * statistics.variance(whole)
        size = over_u or 1.0
        yield "update_batch", beyond(abs(update_batch - over_u) / size, SUMMING_TOLERANCE)
        expected = over_u - scale * statistics.covariance(first, second)
        yield "interaction", beyond(abs(interaction - expected) / size, SUMMING_TOLERANCE)
        deviations = [[value - statistics.fmean(column) for value in column] for column in (first, second, whole)]
        yield from _of_spread(run, deviations, scale)
        yield "products", beyond(run.number(DEFINITION), scalar_tolerance([run]))


def _of_spread(run: Measured, deviations: list[list[float]], scale: float) -> Iterator[Discrepancy]:
    """Yield the discrepancies of the standard error of V_Y - T, relative to itself, and of the skewness."""
    first, second, whole = deviations
    n = len(whole)
    terms = [a * b for a, b in zip(first, second, strict=True)]
    error = scale * statistics.stdev(terms) * n**0.5 / (n - 1)
    yield "standard_error", beyond(abs(run.number(ERROR) - error) / (error or 1.0), SUMMING_TOLERANCE)
    square = statistics.fmean(d**2 for d in whole)
    skewness = statistics.fmean(d**3 for d in whole) / square**1.5 if square > 0 else 0.0
    yield "update_skewness", beyond(abs(run.number(SKEWNESS) - skewness), SUMMING_TOLERANCE)


CHECK = identity(
    "total_variance_parts",
    "the variance over update batches and the interaction follow from products that their definitions give",
    "a part of the total variance over other prompts or halves than its own, not centred, or of wrong products",
    ("asked", "eta", "update.prompts", PRODUCTS, DEFINITION, ERROR, SKEWNESS, *SCALAR_NEEDS, *PARTS[1:]),
    discrepancies,
    has_a_total,
)
