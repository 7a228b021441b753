"""The policy's temperature is the configured one."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Gap, identity, looked_at, was_looked_at


def gaps(runs: Runs, given: Given) -> Iterator[Gap]:
    """Yield by how much each run's temperature is off."""
    for run in looked_at(runs):
        yield "temperature_gap", run.number("agreement.temperature_gap")


CHECK = identity(
    "temperature_is_configured",
    "sampler and scorer have the configured temperature",
    "a temperature other than the configured one",
    ("asked", "agreement.temperature_gap"),
    gaps,
    was_looked_at,
)
