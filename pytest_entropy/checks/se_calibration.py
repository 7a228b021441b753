"""The spread of delta_h1 over runs with the same U equals the reported standard errors."""

from __future__ import annotations

from pytest_entropy.checks.base import Check, Given, Runs, numbers
from pytest_entropy.stats import CheckOutcome, check_se_calibration

# Spread of delta_h1 over its reported error, about the root of 10: an error that counts ten times too many prompts.
RATIO = 3.0


def forgotten_prompts(runs: Runs) -> float | None:
    """The ratio spread / SE of an error that counts ten times too many prompts."""
    return RATIO


def recorded_prompts(runs: Runs) -> list[list[int]] | None:
    """The prompts of each run, by their numbers; None where a run has not recorded them, and the test is a bound."""
    return [run.rows("prompts") for run in runs] if all(run.has("prompts") for run in runs) else None


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the spread of delta_h1 over runs against the runs' own standard errors."""
    return check_se_calibration(
        [run.scalars("per_prompt") for run in runs],
        numbers(runs, "delta_h1"),
        numbers(runs, "se_conditional"),
        scale=runs[0].number("eta"),
        alpha=given.share,
        rng=given.generator,
        name=check.name,
        effect_of_interest=forgotten_prompts(runs),
        sampling_fraction=max(numbers(runs, "sampling_fraction")),
        prompts=recorded_prompts(runs),
    )


CHECK = Check(
    name="se_calibration",
    claim="the spread of delta_h1 over runs is what the reported standard errors say",
    likely_causes="a wrong ddof or a second division by B_E, prompts that are not independent, or microbatch scaling",
    needs=("per_prompt", "delta_h1", "se_conditional", "eta", "sampling_fraction", "prompts"),
    judge=judge,
    statistical=True,
    effect=forgotten_prompts,
)
