"""Padding, prompt sharing and the size of the pieces change no log-probability and no entropy beyond rounding."""

from __future__ import annotations

from pytest_entropy.checks.base import Check, Given, Runs, exact, numbers
from pytest_entropy.checks.rounding.tolerances import ALONE, CAP_NEEDS, noise_cap
from pytest_entropy.stats import CheckOutcome


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the discrepancies between batches and their prompts computed alone."""
    return exact(check, numbers(runs, *ALONE), noise_floor=noise_cap(runs), unit="nats")


CHECK = Check(
    name="batch_invariance",
    claim="a prompt computed alone and unpadded gives the same log-probabilities and entropies as in its batch",
    likely_causes="positions or masks under left padding, rows in another order, or a temperature missing in scoring",
    needs=("asked", *ALONE, *CAP_NEEDS),
    judge=judge,
    asks=("definition",),
)
