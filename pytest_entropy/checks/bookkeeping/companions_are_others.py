"""The companions whose reads are averaged are drawn uniformly from the prompts that neither E nor U holds."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity, reading, runs_that_read, with_definition

SHARED, DRAW = "companions.shared", "companions.draw"


def nothing_compared(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply; "" where it does."""
    if reason := reading(runs, given):
        return reason
    if given.with_replacement and not runs_that_read(with_definition(runs)):
        return "companions were drawn with replacement among all prompts, and their draw was not computed again"
    return ""


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield how many companions E or U holds, and how many places hold another than the seed puts there."""
    for run in runs_that_read(runs):
        if not given.with_replacement:
            yield "companions in E or U", run.number(SHARED)
    for run in runs_that_read(with_definition(runs)):
        yield "places of companions", run.number(DRAW)


CHECK = identity(
    "companions_are_others",
    "companions are drawn uniformly from the whole set, and neither E nor U holds one",
    "companions that meet E or U, or a subset of the prompts read",
    ("asked", SHARED, DRAW),
    discrepancies,
    nothing_compared,
)
