"""The variance over both batches is V_X + V_Y - T, and V_X the conditional variance (docs/mathematics.md §4)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity
from pytest_entropy.records.measured import Measured

# Each half of E takes a jackknife of two prompts.
FEWEST_PER_TOKEN = 4
PARTS = ("variance_parts.entropy_batch", "variance_parts.update_batch", "variance_parts.interaction")


def has_a_total(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply: no run has a total variance; "" where one has."""
    return "" if with_total(runs) else "total_variance was not asked for, or a batch has too few prompts for it"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the discrepancies of each run's total variance, relative to the conditional one."""
    for run in with_total(runs):
        conditional = run.number("variance_conditional")
        entropy_batch, update_batch, interaction = (run.number(name) for name in PARTS)
        total = entropy_batch + update_batch - interaction
        yield "variance_total", abs(run.number("variance_total") - total) / (conditional or 1.0)
        yield "entropy_batch", abs(entropy_batch - conditional) / (conditional or 1.0)


def with_total(runs: Runs) -> list[Measured]:
    """The runs whose total variance was asked for and can be computed."""
    return [
        run
        for run in runs
        if run.was_asked("total_variance")
        and len(run.rows("update.prompts")) >= 2
        and (FEWEST_PER_TOKEN if run.is_per_token else 2) <= run.B_E
    ]


CHECK = identity(
    "total_variance_identity",
    "the variance over both batches is V_X + V_Y - T, and V_X is the conditional variance",
    "a variance over update batches that is not the sum of its parts",
    ("asked", "update.prompts", "variance_conditional", "variance_total", *PARTS),
    discrepancies,
    has_a_total,
)
