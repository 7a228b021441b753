"""No prompt comes twice in E or in U."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity, without_replacement


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the number of repeated prompts in each run's batches."""
    for run in runs:
        update_prompts = run.rows("update.prompts")
        yield "prompts repeated in the update", float(len(update_prompts) - len(set(update_prompts)))
        if not run.is_single_batch:
            yield "repeated", run.number("agreement.repeated")


CHECK = identity(
    "prompts_distinct",
    "no prompt comes twice in E or in U",
    "prompts drawn twice",
    ("update.prompts", "agreement.repeated"),
    discrepancies,
    without_replacement,
)
