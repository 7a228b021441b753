"""The learning rate of the update and of its runs is the configured one, or else the one that the optimizer stores."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancies between the configured rate, the update's and each run's."""
    for run in runs:
        eta = run.number("eta")
        yield "eta_gap", run.number("update.eta_gap")
        yield "eta of the update", abs(run.number("update.eta") - eta) / (eta or 1.0)


CHECK = identity(
    "rate_is_configured",
    "eta is the learning rate that is configured, or else stored, in the update and in its runs",
    "a learning rate that is neither configured nor stored",
    ("eta", "update.eta", "update.eta_gap"),
    discrepancies,
)
