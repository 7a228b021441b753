"""The update batch has a gradient: equal rewards give no advantage, and then delta_h1 = 0 says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_entropy.checks.base import Check, Given, Runs, numbers
from pytest_entropy.records.measured import Measured
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import equal_rewards
from pytest_entropy.stats import CheckOutcome

GRADIENT, STEP, PROMPTS, REWARDS = "update.gradient_norm", "update.direction_norm", "update.prompts", "update.rewards"
Rewards = Sequence[Sequence[float]]


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge whether any run's update batch has a gradient; inconclusive where none has."""
    gradients, steps = numbers(runs, GRADIENT), numbers(runs, STEP)
    prompts = len(runs[0].rows(PROMPTS))
    without_gradient = [run for run, step in zip(runs, steps, strict=True) if _lacks_gradient(run.rows(REWARDS), step)]
    return CheckOutcome(
        name=check.name,
        null=check.claim,
        statistic=max(gradients),
        p_value=None,
        alpha=0.0,
        effect=max(steps),
        ci=None,
        unit="Euclidean norm of the update direction",
        n=prompts,
        verdict="inconclusive" if len(without_gradient) == len(runs) else "pass",
        minimum_detectable_effect=None,
        effect_of_interest=None,
        samples_needed=None,
        likely_causes=_likely_causes(without_gradient[0]) if without_gradient else "",
    )


def with_update_warning(runs: Sequence[RunRecord], reason: str) -> str:
    """Put a warning before a conclusion's reason, where the update batch, or one of its rewards, has no gradient.

    Args:
        runs: records of one experiment's runs.
        reason: the conclusion's reason, returned as it is where every update batch has a gradient.
    """
    without_gradient = [run.update for run in runs if _lacks_gradient(run.update.rewards, run.update.direction_norm)]
    if not without_gradient:
        still = next((run.update.still_terms for run in runs if run.update.still_terms), [])
        said = [
            f"reward {term.name} adds nothing to the update ({term.equal}; a sample is in the report)" for term in still
        ]
        return "; ".join([*said, reason])
    share = "" if len(without_gradient) == len(runs) else f" in {len(without_gradient)} of {len(runs)} runs"
    first = without_gradient[0]
    movement, cause = _movement(first.direction_norm, first.rule), _cause(first.rewards)
    return f"{movement}{share} ({cause}; a sample is in the report); {reason}"


def _lacks_gradient(rewards: Rewards, step: float | None) -> bool:
    return step == 0 or (bool(rewards) and equal_rewards(rewards) is not None)


def _movement(step: float | None, rule: str) -> str:
    if step and rule == "adamw":
        return "only the optimizer's momentum and weight decay move anything"
    return "the update moves nothing"


def _cause(rewards: Rewards) -> str:
    return equal_rewards(rewards) or "its gradient is zero, though rewards differ"


def _likely_causes(run: Measured) -> str:
    rewards, cause = run.rows(REWARDS), _cause(run.rows(REWARDS))
    if equal_rewards(rewards) is None:
        return f"{cause}: weights of the objective that are all zero, or a gradient that underflows"
    all_equal = min(map(min, rewards)) == max(map(max, rewards))
    remedy = (
        "does the reward read what responses and answers hold (see the sample)? If so, give prompts of mixed "
        "difficulty, a reward that fits them (--reward), or a larger --bu"
        if all_equal
        else "give prompts of mixed difficulty, more responses to each (batch_config.G), or a larger --bu"
    )
    lines = [f"{cause}, so all advantages are zero and {_movement(run.number(STEP), run.update_rule)}: {remedy}"]
    for number, part in enumerate(run.sample, start=1):
        lines += [
            f"sample {number}, prompt: {part.prompt}",
            f"completion: {part.completion}",
            f"answer: {part.answer or 'none'}",
            f"reward: {'none' if part.reward is None else f'{part.reward:.3g}'}",
        ]
    return "\n    ".join(lines)


CHECK = Check(
    name="update_moves",
    claim="the update batch has a gradient",
    likely_causes="rewards that are equal within every group",
    needs=(GRADIENT, STEP, PROMPTS, REWARDS),
    judge=judge,
)
