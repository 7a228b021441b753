"""A run leaves the policy, the optimizer's state and the process as it found them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, definition_not_asked, identity, with_definition

CHANGES = "state_changed"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield how many kinds of state each run left changed, named by what they are."""
    for run in with_definition(runs):
        changes = run.words(CHANGES)
        yield "; ".join(changes) or "state", float(len(changes))


CHECK = identity(
    "state_is_restored",
    "a run leaves weights, buffers, hooks, modes, random states and the optimizer's state as it found them",
    "state that leaks into the next run: weights not restored, a hook or a mode left, random numbers consumed",
    ("asked", CHANGES),
    discrepancies,
    definition_not_asked,
)
