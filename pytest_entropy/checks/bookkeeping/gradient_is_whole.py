"""No part of the update's gradient is missing: along random directions too it is the slope of the loss."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import (
    Discrepancy,
    beyond,
    definition_not_asked,
    identity,
    with_definition,
)

GAP, NOISE, ZERO = "update.random_slope_gap", "update.random_slope_noise", "update.zero_slope_gap"
NAMES = "update.zero_gradients"
# Relative to the root sum of squares of the responses' parts; in float32 the slopes are off by 2e-3 at most.
TOLERANCE = 1e-2
# The measured rounding is that of one pair of passes; a slope of several is off by six times it at most.
ROUNDINGS = 20
# Above it rounding hides a part of the gradient of a quarter of its size.
LARGEST_NOISE = 0.25 / ROUNDINGS


def weights_too_coarse(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply; "" where it does."""
    if reason := definition_not_asked(runs, given):
        return reason
    if all(run.number(NOISE) > LARGEST_NOISE for run in with_definition(runs)):
        return (
            "rounding of the weights, or experts that change within the finite step, hide the slopes of the loss; "
            "--dtype float32 (or float64) rounds less"
        )
    return ""


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield how far each run's gradient is from the loss's slopes, beyond rounding; zero gradients are named."""
    for run in with_definition(runs):
        noise = run.number(NOISE)
        if noise > LARGEST_NOISE:
            continue
        floor = max(TOLERANCE, ROUNDINGS * noise)
        zero = beyond(run.number(ZERO), floor)
        named = ", ".join(run.words(NAMES))
        yield f"slope where the gradient is exactly 0: {named}" if zero else "slope where the gradient is 0", zero
        yield "slope along random directions", beyond(run.number(GAP), floor)


CHECK = identity(
    "gradient_is_whole",
    "the update's gradient is that of the loss along random directions, and where it is exactly 0",
    "a part of the gradient that is lost: of a tensor, a layer, a piece of the batch or a prompt",
    ("asked", GAP, NOISE, ZERO, NAMES),
    discrepancies,
    weights_too_coarse,
)
