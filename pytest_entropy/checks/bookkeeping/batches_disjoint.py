"""E and U share no prompt."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Gap, identity, two_batches, without_replacement


def gaps(runs: Runs, given: Given) -> Iterator[Gap]:
    """Yield how many prompts each run's E has in common with U."""
    for run in runs:
        if not run.is_single_batch:
            yield "shared_with_update", run.number("agreement.shared_with_update")


CHECK = identity(
    "batches_disjoint",
    "E and U share no prompt",
    "E drawn from U",
    ("agreement.shared_with_update",),
    gaps,
    # A single batch shares its prompts by design.
    lambda runs, given: without_replacement(runs, given) or two_batches(runs, given),
)
