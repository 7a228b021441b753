"""Whether the update moves anything: equal rewards give no advantage, and then delta_h1 = 0 says nothing."""

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
    """Judge whether any run's update batch has a gradient; with none, delta_h1 = 0 says nothing."""
    gradients, steps = numbers(runs, GRADIENT), numbers(runs, STEP)
    prompts = len(runs[0].rows(PROMPTS))
    still = [run for run, step in zip(runs, steps, strict=True) if _still(run.rows(REWARDS), step)]
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
        verdict="inconclusive" if len(still) == len(runs) else "pass",
        minimum_detectable_effect=None,
        effect_of_interest=None,
        samples_needed=None,
        likely_causes=_likely_causes(still[0]) if still else "",
    )


def said_first(runs: Sequence[RunRecord], reason: str) -> str:
    """A conclusion's reason, with what it is worth before it where runs had an update that moves nothing."""
    still = [run.update for run in runs if _still(run.update.rewards, run.update.direction_norm)]
    if not still:
        return reason
    which = "" if len(still) == len(runs) else f" in {len(still)} of {len(runs)} runs"
    what, why = _what(still[0].direction_norm, still[0].rule), _why(still[0].rewards)
    return f"{what}{which} ({why}; a sample is in the report); {reason}"


def _still(rewards: Rewards, step: float | None) -> bool:
    return step == 0 or (bool(rewards) and equal_rewards(rewards) is not None)


def _what(step: float | None, rule: str) -> str:
    if step and rule == "adamw":
        return "only the optimizer's momentum and weight decay move anything"
    return "the update moves nothing"


def _why(rewards: Rewards) -> str:
    return equal_rewards(rewards) or "its gradient is zero, though rewards differ"


def _likely_causes(run: Measured) -> str:
    rewards, why = run.rows(REWARDS), _why(run.rows(REWARDS))
    if equal_rewards(rewards) is None:
        return f"{why}: weights of the objective that are all zero, or a gradient below what numbers can hold"
    same = min(map(min, rewards)) == max(map(max, rewards))
    remedy = (
        "does the reward read what responses and answers hold (see the sample)? If so, give prompts of mixed "
        "difficulty, a reward that fits them (--reward), or a larger --bu"
        if same
        else "give prompts of mixed difficulty, more responses to each (batch_config.G), or a larger --bu"
    )
    lines = [f"{why}, so all advantages are zero and {_what(run.number(STEP), run.update_rule)}: {remedy}"]
    for number, part in enumerate(run.sample, start=1):
        lines += [
            f"sample {number}, prompt: {part.prompt}",
            f"completion: {part.completion}",
            f"answer: {part.answer or 'none'}",
            f"reward: {part.reward:.3g}",
        ]
    return "\n    ".join(lines)


CHECK = Check(
    name="update_moves",
    claim="the update batch has a gradient",
    likely_causes="rewards that are equal within every group",
    needs=(GRADIENT, STEP, PROMPTS, REWARDS),
    judge=judge,
)
