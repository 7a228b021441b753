"""Sampled tokens of some prompts of every batch are those that the recorded random numbers pick from the policy."""

from __future__ import annotations

from pytest_entropy.checks.base import Check, Given, Runs, exact, numbers
from pytest_entropy.checks.rounding.tolerances import FLOOR_NEEDS, noise_floor
from pytest_entropy.stats import CheckOutcome

DRAWS = ("agreement.draws", "update.draw_gap")


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the distance, in probability, of sampled tokens from those that their random numbers pick."""
    return exact(check, numbers(runs, *DRAWS), noise_floor=noise_floor(runs), unit="probability")


CHECK = Check(
    name="draws",
    claim="a sampled token is the one that its own random number picks from softmax(logits / T)",
    likely_causes="a sampler that draws from another distribution than it records (temperature, top-k, top-p, a "
    "repetition penalty), or random numbers that belong to another batch, prompt or response, as with copies of one",
    needs=(*DRAWS, *FLOOR_NEEDS),
    judge=judge,
    asks=("definition",),
)
