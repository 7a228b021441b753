"""E and U share no prompt."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import identity, of_two_batches, recorded, two_batches, without_replacement

CHECK = identity(
    "batches_disjoint",
    "E and U share no prompt",
    "E drawn from U",
    ("agreement.shared_with_update",),
    recorded("agreement.shared_with_update", of=of_two_batches),
    # A single batch shares its prompts by design.
    lambda runs, given: without_replacement(runs, given) or two_batches(runs, given),
)
