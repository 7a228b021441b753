"""Rewards again, one completion at a time and by the function itself: what the batch's bookkeeping is held against."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards.evaluation import RewardFunction, RewardTerm, WeightedRewards
from pytest_entropy.rewards.named import named
from pytest_entropy.rewards.requirements import NOT_COLUMNS


def reward_discrepancy(
    reward: RewardFunction,
    prompts: Sequence[Prompt],
    completions: Sequence[Sequence[str]],
    rewards: Sequence[Sequence[float]],
) -> float | None:
    """Largest difference of ``rewards`` ``[P][G]`` from each completion's own, with its own prompt's columns.

    None where a term is not known to be repeatable: another function may be slow, paid for, or random, and is not
    asked twice.
    """
    terms = reward.terms if isinstance(reward, WeightedRewards) else (RewardTerm(reward, ""),)
    known = [named(term.function) for term in terms]
    if not all(reward is not None and reward.repeatable for reward in known):
        return None
    largest = 0.0
    for prompt, texts, given in zip(prompts, completions, rewards, strict=True):
        for text, value in zip(texts, given, strict=True):
            largest = max(largest, abs(value - _alone(terms, prompt, text)))
    return largest


def _alone(terms: Sequence[RewardTerm], prompt: Prompt, text: str) -> float:
    columns = {name: [value] for name, value in prompt.columns.items() if name not in NOT_COLUMNS}
    total = 0.0
    for term in terms:
        (value,) = term.function(prompts=[prompt.content], completions=[text], **columns)
        total += term.weight * (0.0 if value is None else float(value))
    return total
