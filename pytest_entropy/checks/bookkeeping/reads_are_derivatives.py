"""Companion reads equal their definition, computed by the bare model on one prompt at a time."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import (
    Discrepancy,
    beyond,
    definition_not_asked,
    identity,
    reading,
    runs_that_read,
    with_definition,
)
from pytest_entropy.checks.rounding.tolerances import SCALAR_NEEDS, scalar_tolerance

GAP, ENCODINGS = "companions.definition", "companions.encodings"


def not_compared(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply; "" where it does."""
    return reading(runs, given) or definition_not_asked(runs, given)


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancy of two reads of each run from their definition, and of the prompts' tokens."""
    for run in runs_that_read(with_definition(runs)):
        yield "reads", beyond(run.number(GAP), scalar_tolerance([run]))
        yield "tokens of prompts read", run.number(ENCODINGS)


CHECK = identity(
    "reads_are_derivatives",
    "a companion read is the derivative of entropy and expected action value after the prompt and the opening",
    "reads along another direction, at another position, or of other tokens than the prompt's",
    ("asked", GAP, ENCODINGS, *SCALAR_NEEDS),
    discrepancies,
    not_compared,
)
