"""Whether the update moves anything: equal rewards give no advantage, and then delta_h1 = 0 says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_entropy.checks.measured import needs_measurements, numbers, rows
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import UpdateRecord, equal_rewards
from pytest_entropy.stats import CheckOutcome

MOVES = "the update batch has a gradient"


@needs_measurements("update_moves", MOVES)
def update_moves(runs: Sequence[RunRecord]) -> CheckOutcome:
    """An update batch whose groups all have equal rewards has no gradient: delta_h1 = 0 says nothing."""
    gradients, steps = (numbers(runs, name, of="update") for name in ("gradient_norm", "direction_norm"))
    prompts = len(rows(runs[0], "prompts"))
    still = [run.update for run in runs if rows(run, "rewards") and _still(run.update)]
    shown = still[0] if still else runs[0].update
    return CheckOutcome(
        name="update_moves",
        null=MOVES,
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
        likely_causes=_points_to(shown) if still else "",
    )


def said_first(runs: Sequence[RunRecord], reason: str) -> str:
    """A conclusion's reason, with what it is worth before it where runs had an update that moves nothing."""
    still = [run.update for run in runs if _still(run.update)]
    if not still:
        return reason
    which = "" if len(still) == len(runs) else f" in {len(still)} of {len(runs)} runs"
    return f"{_what(still[0])}{which} ({_why(still[0])}; a sample is in the report); {reason}"


def _still(update: UpdateRecord) -> bool:
    return update.direction_norm == 0 or (bool(update.rewards) and equal_rewards(update.rewards) is not None)


def _what(update: UpdateRecord) -> str:
    if update.direction_norm and update.rule == "adamw":
        return "only the optimizer's momentum and weight decay move anything"
    return "the update moves nothing"


def _why(update: UpdateRecord) -> str:
    return equal_rewards(update.rewards) or "its gradient is zero, though rewards differ"


def _points_to(update: UpdateRecord) -> str:
    rewards = update.rewards
    if equal_rewards(rewards) is None:
        return f"{_why(update)}: weights of the objective that are all zero, or a gradient below what numbers can hold"
    same = min(map(min, rewards)) == max(map(max, rewards))
    remedy = (
        "does the reward read what responses and answers hold (see the sample)? If so, give prompts of mixed "
        "difficulty, a reward that fits them (--reward), or a larger --bu"
        if same
        else "give prompts of mixed difficulty, more responses to each (batch_config.G), or a larger --bu"
    )
    lines = [f"{_why(update)}, so all advantages are zero and {_what(update)}: {remedy}"]
    for number, part in enumerate(update.sample, start=1):
        lines += [
            f"sample {number}, prompt: {part.prompt}",
            f"completion: {part.completion}",
            f"answer: {part.answer or 'none'}",
            f"reward: {part.reward:.3g}",
        ]
    return "\n    ".join(lines)
