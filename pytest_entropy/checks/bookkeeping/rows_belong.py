"""Each response of E and of U follows its own prompt's tokens."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, definition_not_asked, identity, with_definition


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield how many rows of each run and of its update hold another prompt's tokens."""
    for run in with_definition(runs):
        yield "other_prompts", run.number("agreement.other_prompts")
        yield "other_prompts of the update", run.number("update.other_prompts")


CHECK = identity(
    "rows_belong",
    "responses belong to their prompts",
    "responses of another prompt: rows in another order",
    ("asked", "agreement.other_prompts", "update.other_prompts"),
    discrepancies,
    definition_not_asked,
)
