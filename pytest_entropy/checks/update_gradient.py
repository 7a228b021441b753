"""<g, u> equals the slope of the loss on U along u, by finite differences with token weights from plain loops."""

from __future__ import annotations

from dataclasses import replace

from pytest_entropy.checks.base import Check, Given, Runs, exact, numbers
from pytest_entropy.checks.rounding.tolerances import ROUNDING, coarse
from pytest_entropy.stats import CheckOutcome

GAP, NOISE = "update.loss_slope_gap", "update.loss_slope_noise"
# Central differences of the loss carry rounding and curvature of about 1e-4; a wrong factor is far larger.
SLOPE_TOLERANCE = 1e-2
# Weights coarser than float32 bury a small step's change in rounding.  Then the tolerance is so many times what
# rounding and curvature were measured to be; from the largest on they hide a wrong factor.
NOISES, LARGEST = 2, 0.5


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the discrepancies between <g, u> and the loss's own slope."""
    noise = NOISES * max(numbers(rough, NOISE)) if (rough := coarse(runs)) else 0.0
    outcome = exact(
        check, numbers(runs, GAP), noise_floor=max(SLOPE_TOLERANCE, noise),
        unit="relative to the sum of absolute contributions",
    )  # fmt: skip
    if noise <= LARGEST:
        return outcome
    reason = "rounding of the weights hides the slope of the loss; --dtype float32 has more digits"
    return replace(outcome, verdict="inconclusive", reason=reason)


CHECK = Check(
    name="update_gradient",
    claim="the update's gradient is that of the policy-gradient loss on U",
    likely_causes="the sign or scale of the loss, advantages (ddof, baseline), token weights, or microbatch means "
    "summed as if equal-sized",
    needs=("asked", GAP, ROUNDING, NOISE),
    judge=judge,
    asks=("definition",),
)
