"""The error of the runs' mean against the error that was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_entropy.checks.summaries.headline import mean_measurement
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.target_error import allowed_error
from pytest_entropy.stats import CheckOutcome
from pytest_entropy.stats.target_error import ErrorAfter

OPTION = "--entropy-target-se"


@dataclass(frozen=True)
class TargetReached:
    """Whether the mean of all runs has the error that was asked for.

    Attributes:
        target_se: as it was asked for: a size in the unit of delta_h1, or a share of it such as ``10%``.
        allowed: the largest standard error that it allows, in the unit of delta_h1.
        reached: whether ``se_conditional`` of the mean is at most that.
        most_runs: runs that were allowed, along all update batches.
    """

    target_se: str
    allowed: float
    reached: bool
    most_runs: int


def error_after(runs: Sequence[RunRecord], target: str) -> ErrorAfter:
    """The error of the runs' mean for their update batches, and the largest that the target allows.

    Args:
        runs: records of one experiment's runs.
        target: as it is configured.
    """
    measured = mean_measurement(runs)
    se = math.inf if measured.se is None else measured.se
    return ErrorAfter(se, allowed_error(target, measured.value), measured.sampling_fraction)


def target_reached(runs: Sequence[RunRecord], target: str, most: int) -> TargetReached:
    """The record of the target.

    Args:
        runs: records of one experiment's runs.
        target: as it is configured.
        most: runs that were allowed, along all update batches.
    """
    after = error_after(runs, target)
    return TargetReached(target, after.allowed, after.reached, most)


def digits(error: float) -> str:
    """An error beside one that it is compared with: a digit more than elsewhere, or the two may look the same."""
    return f"{error:.3g}"


def asked_for(target: str, allowed: float) -> str:
    """A target in words, a share with what it is now.

    >>> asked_for("0.001", 0.001), asked_for("10%", 0.003)
    ('0.001', '10% (0.003)')

    Args:
        target: as it is configured.
        allowed: the largest standard error that it allows.
    """
    return f"{target} ({digits(allowed)})" if target.endswith("%") else target


def more_runs(after: ErrorAfter, runs: int, step: int = 1) -> str:
    """The option with the number of runs that is predicted to reach the target, or why none does.

    Args:
        after: the error after the runs.
        runs: their number.
        step: update batches, along each of which ``--runs`` counts.
    """
    predicted = after.predicted(runs)
    if math.isfinite(predicted):
        return f"--runs {max(math.ceil(predicted / step), runs // step + 1)}"
    if not after.allowed:
        return "a target that is no share of δH₁, which is 0"
    return "more prompts: runs share those of the set, and its differences do not average out"


def reaches_target(runs: Sequence[RunRecord], target: str, *, updates: int = 1) -> CheckOutcome:
    """Whether the mean has the error that was asked for: inconclusive where it has not, with what would do.

    Args:
        runs: records of one experiment's runs, whose mean is judged.
        target: as it is configured.
        updates: update batches, along each of which ``--runs`` counts.
    """
    after, measured = error_after(runs, target), mean_measurement(runs)
    asked = asked_for(target, after.allowed)
    reason = "" if after.reached else (
        f"the error {measured.scope} is {digits(after.se)} after {len(runs)} run{'s' * (len(runs) != 1)}, above "
        f"{OPTION} {asked}; to decide: {more_runs(after, len(runs), updates)}"
    )  # fmt: skip
    return CheckOutcome(
        name="target_error",
        null=f"the standard error is at most {asked}",
        statistic=after.se / after.allowed if after.allowed and math.isfinite(after.se) else None,
        p_value=None,
        alpha=0.0,
        effect=measured.se,
        ci=None,
        unit=runs[0].unit,
        n=measured.prompts,
        verdict="pass" if after.reached else "inconclusive",
        minimum_detectable_effect=None,
        effect_of_interest=None,
        samples_needed=None,
        likely_causes="",
        reason=reason,
    )
