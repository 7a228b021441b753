"""delta_h1 is eta times the mean of the per-prompt scalars."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity, scaled, size_of


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancy of each run's delta_h1."""
    for run in runs:
        s = scaled(run)
        yield "delta_h1", abs(run.number("delta_h1") - s.mean()) / size_of(s)


CHECK = identity(
    "delta_h1_is_mean",
    "delta_h1 is eta times the mean of s_n",
    "a division by B_E too many or too few in delta_h1, or numbers that were rounded as results.json was written",
    ("per_prompt", "eta", "delta_h1"),
    discrepancies,
)
