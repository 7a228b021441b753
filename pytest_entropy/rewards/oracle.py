"""Compute rewards again, one completion at a time, as the oracle for the bookkeeping of a batch's rewards."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards.arguments import NOT_COLUMNS
from pytest_entropy.rewards.evaluation import RewardFunction, RewardTerm, WeightedRewards
from pytest_entropy.rewards.named import named


def reward_discrepancy(
    reward: RewardFunction,
    prompts: Sequence[Prompt],
    completions: Sequence[Sequence[str]],
    rewards: Sequence[Sequence[float]],
) -> float | None:
    """Largest difference between ``rewards`` and the reward of each completion computed alone, in units of reward.

    None where a term is not known to be repeatable: other functions may be slow, paid for or random, and are not
    called a second time.

    Args:
        reward: one function, or a weighted sum of functions.
        prompts: P prompts with their columns.
        completions: texts ``[P][G]``.
        rewards: the batch's rewards ``[P][G]``.
    """
    terms = reward.terms if isinstance(reward, WeightedRewards) else (RewardTerm(reward, ""),)
    known = [named(term.function) for term in terms]
    if not all(reward is not None and reward.repeatable for reward in known):
        return None
    # scipy comes with it, which planning a session does without.
    from pytest_entropy.stats.largest import largest

    return largest(
        abs(value - _alone(terms, prompt, text))
        for prompt, texts, given in zip(prompts, completions, rewards, strict=True)
        for text, value in zip(texts, given, strict=True)
    )


def _alone(terms: Sequence[RewardTerm], prompt: Prompt, text: str) -> float:
    """The weighted sum for one completion, each function called with it alone."""
    columns = {name: [value] for name, value in prompt.columns.items() if name not in NOT_COLUMNS}
    total = 0.0
    for term in terms:
        (value,) = term.function(prompts=[prompt.content], completions=[text], **columns)
        total += term.weight * (0.0 if value is None else float(value))
    return total
