"""Sampler and scorer agree on log pi(t_k) and H_k of every token, up to rounding."""

from __future__ import annotations

from pytest_entropy.checks.base import Check, Given, Runs, exact, numbers
from pytest_entropy.checks.rounding.tolerances import FLOOR_NEEDS, noise_floor
from pytest_entropy.stats import CheckOutcome

GAPS = ("agreement.log_probs", "agreement.entropies")


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the largest difference between sampler and scorer."""
    return exact(check, numbers(runs, *GAPS), noise_floor=noise_floor(runs), unit="nats")


CHECK = Check(
    name="sampler_scorer_agreement",
    claim="the sampler and the scorer give every token the same log-probability and entropy",
    likely_causes="another temperature, truncation or penalty in the sampler, dropout, wrong positions, rows in "
    "another order, or another precision (autocast) in one of the two",
    needs=(*GAPS, *FLOOR_NEEDS),
    judge=judge,
)
