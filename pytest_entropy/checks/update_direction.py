"""The update direction u equals the step of a real torch optimizer from the same state and gradient."""

from __future__ import annotations

from pytest_entropy.checks.base import ORACLE_TOLERANCE, Check, Given, Runs, exact, numbers
from pytest_entropy.stats import CheckOutcome

GAP = "update.oracle_gap"


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the discrepancies between the direction and the optimizer's step."""
    return exact(check, numbers(runs, GAP), noise_floor=ORACLE_TOLERANCE, unit="relative")


CHECK = Check(
    name="update_direction",
    claim="the update direction equals a real optimizer's step",
    likely_causes="a sign, a missing bias correction, decay or clipping, or states of other parameters",
    needs=(GAP,),
    judge=judge,
)
