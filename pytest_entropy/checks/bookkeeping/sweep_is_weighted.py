"""Changes, sample sizes and k-hat at one step of the eta sweep are those of plain loops (docs/mathematics.md §7)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, beyond, identity, of_two_batches
from pytest_entropy.checks.rounding.tolerances import ROUNDING, SCALAR_ROUNDINGS
from pytest_entropy.records.measured import Measured

GAPS = ("agreement.sweep_change", "agreement.sweep_self_normalised", "agreement.sweep_sizes")
KHAT = "agreement.sweep_khat"
# Relative to the sum of absolute contributions; two passes of one shape in float32 agree to rounding.
TOLERANCE = 1e-5
# k-hat is an estimate from some tens of weights, which it amplifies the rounding of.
KHAT_TOLERANCE = 1e-2


def not_swept(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply: no run was asked for an eta sweep; "" where one was."""
    return "" if _swept(runs) else "no run was asked for the diagnostic eta_sweep"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancies at one step of each run's sweep, and the absolute one of k-hat."""
    for run in _swept(runs):
        tolerance = max(TOLERANCE, SCALAR_ROUNDINGS * run.number(ROUNDING))
        for name in GAPS:
            yield name.rpartition(".")[2], beyond(run.number(name), tolerance)
        yield "sweep_khat", beyond(run.number(KHAT), max(KHAT_TOLERANCE, tolerance))


def _swept(runs: Runs) -> list[Measured]:
    return [run for run in of_two_batches(runs) if run.was_asked("eta_sweep")]


CHECK = identity(
    "sweep_is_weighted",
    "changes of entropy and sample sizes of the eta sweep follow from the responses' totals at theta and theta + eta u",
    "importance weights of the sweep left out, normalised over other responses, or summed up as no definition has it",
    ("asked", *GAPS, KHAT, ROUNDING),
    discrepancies,
    not_swept,
)
