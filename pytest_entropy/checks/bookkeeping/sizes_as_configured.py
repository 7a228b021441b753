"""Batches are as large as configured."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Gap, identity, looked_at, was_looked_at


def gaps(runs: Runs, given: Given) -> Iterator[Gap]:
    """Yield by how many prompts or responses each run's batches are off."""
    for run in looked_at(runs):
        yield "size_gap", run.number("agreement.size_gap")


CHECK = identity(
    "sizes_as_configured",
    "U has as many prompts, and each prompt as many responses, as configured",
    "batches smaller than configured",
    ("asked", "agreement.size_gap"),
    gaps,
    was_looked_at,
)
