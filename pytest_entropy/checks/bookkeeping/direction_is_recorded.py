"""The scalars are taken along the recorded update direction, with the action values learnt from its batch."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity, two_batches


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancies of each run's direction and action values from their recorded fingerprints."""
    for run in runs:
        if not run.is_single_batch:
            # Without a fingerprint only the direction's norm was compared; reading it makes the check inconclusive.
            run.number("update.fingerprint")
            yield "direction_gap", run.number("agreement.direction_gap")


CHECK = identity(
    "direction_is_recorded",
    "the direction and the action values used are those recorded with the update",
    "a stale update: a direction, or action values, learnt from another batch (E itself, say) than the recorded one",
    ("update.fingerprint", "agreement.direction_gap"),
    discrepancies,
    two_batches,
)
