"""<g, u> equals the slope of the loss on U along u, by finite differences with token weights from plain loops."""

from __future__ import annotations

from pytest_entropy.checks.base import ROUNDING, Check, Given, Runs, exact, numbers, rounding
from pytest_entropy.stats import CheckOutcome

GAP = "update.loss_slope_gap"
# Central differences of the loss carry rounding and curvature of about 1e-4; a wrong factor is far larger.
SLOPE_TOLERANCE = 1e-2
# Half-precision weights bury a small step's change in rounding: only a sign or a factor of two shows then.
HALF_PRECISION, SLOPE_TOLERANCE_HALF = 1e-4, 0.5


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the discrepancies between <g, u> and the loss's own slope."""
    floor = SLOPE_TOLERANCE if rounding(runs) < HALF_PRECISION else SLOPE_TOLERANCE_HALF
    return exact(
        check, numbers(runs, GAP), noise_floor=floor, unit="relative to the sum of absolute contributions"
    )  # fmt: skip


CHECK = Check(
    name="update_gradient",
    claim="the update's gradient is that of the policy-gradient loss on U",
    likely_causes="the sign or scale of the loss, advantages (ddof, baseline), token weights, or microbatch means "
    "summed as if equal-sized",
    needs=("asked", GAP, ROUNDING),
    judge=judge,
    asks=("definition",),
)
