"""The prompts of E and of U are those that their seeds put first in a permutation of the whole set."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, definition_not_asked, identity, with_definition


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield how many places of E and of U hold another prompt, and the share of the set against a second count."""
    for run in with_definition(runs):
        if not run.is_single_batch:
            yield "prompts of E", run.number("agreement.prompt_draw")
        yield "prompts or answers of the update", run.number("update.prompt_draw")
        yield "sampling_fraction", run.number("agreement.fraction_gap")


CHECK = identity(
    "prompts_are_drawn",
    "prompts are drawn uniformly from the whole set, each with its own row's answer, in the order that the seed gives",
    "a subset of the prompts (a first part, a length), some more often, the same prompts by every run, another order "
    "or row's answers",
    ("asked", "agreement.prompt_draw", "agreement.fraction_gap", "update.prompt_draw"),
    discrepancies,
    definition_not_asked,
)
