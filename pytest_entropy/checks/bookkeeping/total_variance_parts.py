"""V_Y and T follow from their scalars, one a prompt of U, one a pair, and these from their definitions."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import SUMMING_TOLERANCE, Discrepancy, beyond, identity
from pytest_entropy.checks.bookkeeping.total_variance_identity import PARTS, has_a_total, with_total
from pytest_entropy.checks.rounding.tolerances import SCALAR_NEEDS, scalar_tolerance

PRODUCTS, PAIRS, DEFINITION = "arrays.update_products", "arrays.pair_products", "variance_parts.definition"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the discrepancies of V_Y and T, relative to themselves, and of their scalars from the definitions."""
    for run in with_total(runs):
        update_batch, interaction = (run.number(name) for name in PARTS[1:])
        products, pairs = run.array(PRODUCTS).tolist(), run.array(PAIRS).tolist()
        size = len(run.rows("update.prompts"))
        yield "prompts of U in update_batch", float(abs(len(products) - size))
        scale = run.number("eta") ** 2
        yield "update_batch", _off(update_batch, scale * statistics.variance(products) / len(products))
        yield "interaction", _off(interaction, scale * _covariance_trace(pairs) / (run.B_E * len(products)))
        yield "products", beyond(run.number(DEFINITION), scalar_tolerance([run]))


def _off(reported: float, expected: float) -> float:
    return beyond(abs(reported - expected) / (abs(expected) or 1.0), SUMMING_TOLERANCE)


def _covariance_trace(pairs: list[list[float]]) -> float:
    """tr(Sigma_x Sigma_y) from products ``[N][K]``: twice centred, their squares over (N - 1)(K - 1)."""
    rows, columns = len(pairs), len(pairs[0])
    by_row = [statistics.fmean(row) for row in pairs]
    by_column = [statistics.fmean(row[k] for row in pairs) for k in range(columns)]
    mean = statistics.fmean(by_row)
    squares = [
        (value - by_row[n] - by_column[k] + mean) ** 2 for n, row in enumerate(pairs) for k, value in enumerate(row)
    ]
    return sum(squares) / ((rows - 1) * (columns - 1))


CHECK = identity(
    "total_variance_parts",
    "the variance over update batches and the interaction follow from products that their definitions give",
    "a part of the total variance over other prompts or pairs than its own, not centred, or of wrong products",
    ("asked", "eta", "update.prompts", PRODUCTS, PAIRS, DEFINITION, *SCALAR_NEEDS, *PARTS[1:]),
    discrepancies,
    has_a_total,
)
