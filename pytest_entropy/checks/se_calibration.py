"""The spread of delta_h1 over runs with the same U equals the reported standard errors."""

from __future__ import annotations

from pytest_entropy.checks.base import Check, Given, Runs, numbers
from pytest_entropy.stats import CheckOutcome, check_se_calibration

# Spread of delta_h1 over its reported error, about the root of 10: an error that counts ten times too many prompts.
RATIO = 3.0


def forgotten_prompts(runs: Runs) -> float | None:
    """The ratio spread / SE of an error that counts ten times too many prompts."""
    return RATIO


def drawn_prompts(runs: Runs) -> list[list[int]] | None:
    """The prompts of each run, by their numbers; None where runs share none, or have updates of their own.

    Raises:
        Missing: a run has not recorded them.
    """
    with_own_updates = any(run.is_single_batch for run in runs)
    if with_own_updates or max(numbers(runs, "sampling_fraction")) <= 0:
        return None
    return [run.rows("prompts") for run in runs]


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the spread of delta_h1 over runs against the runs' own standard errors.

    Those of single batches are never too small on average, but too large by up to a factor of the root of 2 (B - 1) /
    (B - 2) (docs/mathematics.md §5): only a spread above them fails.
    """
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
        prompts=drawn_prompts(runs),
        upper_bounds=any(run.is_single_batch for run in runs),
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
