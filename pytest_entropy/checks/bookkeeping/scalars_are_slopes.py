"""s_n of every prompt is the slope of its surrogate along u, by finite differences (docs/mathematics.md §8)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import (
    Discrepancy,
    beyond,
    definition_not_asked,
    identity,
    of_two_batches,
    with_definition,
)
from pytest_entropy.checks.rounding.tolerances import ROUNDING, coarse
from pytest_entropy.records.measured import Measured

NOISE = "agreement.slopes_noise"
# Relative to the root mean square slope; in float32 the differences were off by 5e-3 at most, their mean by 4e-4.
LARGEST_TOLERANCE, MEAN_TOLERANCE = 2e-2, 2e-3
# A difference is off by its rounding, which the even part bounds: so many times that never happen by chance.
ROUNDINGS = 6
# Above it rounding, or curvature, hides what the identity is for.
LARGEST_NOISE = 0.25 / ROUNDINGS


HIDDEN = (
    "rounding of the weights, or experts that change within the finite step, hide the differences; --dtype float32 (or "
    "float64) rounds less"
)


def differences_not_taken(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply; "" where it does."""
    if reason := definition_not_asked(runs, given):
        return reason
    if not _asked(runs):
        return "no run was asked for the diagnostic score, whose spread sets the finite step"
    if all(map(_hidden, _asked(runs))):
        return HIDDEN
    return ""


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the largest and the mean discrepancy of each run's s_n from the finite differences, beyond rounding."""
    for run in _asked(runs):
        if _hidden(run):
            continue
        noise = run.number(NOISE)
        largest, mean = run.number("agreement.slopes"), run.number("agreement.slopes_mean")
        yield "s_n", beyond(largest, max(LARGEST_TOLERANCE, ROUNDINGS * noise))
        yield "mean of s_n", beyond(mean, max(MEAN_TOLERANCE, ROUNDINGS * noise / run.B_E**0.5))


def _hidden(run: Measured) -> bool:
    # Coarse weights may swallow both steps alike, and leave an even part that bounds no rounding.
    return bool(coarse([run])) or run.number(NOISE) > LARGEST_NOISE


def _asked(runs: Runs) -> list[Measured]:
    return [run for run in with_definition(of_two_batches(runs)) if run.was_asked("score")]


CHECK = identity(
    "scalars_are_slopes",
    "s_n of every prompt is the slope of its surrogate along u",
    "a derivative that is wrong for some prompts, or a part of the gradient that backward loses (a detached module, a "
    "tensor left out)",
    ("asked", "agreement.slopes", "agreement.slopes_mean", NOISE, ROUNDING),
    discrepancies,
    differences_not_taken,
)
