"""Reward functions, in TRL's signature: ``f(prompts, completions, **columns) -> list[float | None]``."""

from pytest_entropy.rewards.builtin.base import NamedReward
from pytest_entropy.rewards.builtin.boxed import boxed
from pytest_entropy.rewards.builtin.exact_answer import exact_answer
from pytest_entropy.rewards.builtin.gsm8k import gsm8k
from pytest_entropy.rewards.builtin.math_verify import math_verify
from pytest_entropy.rewards.equal_rewards import sample_of, sample_of_equal, still_terms
from pytest_entropy.rewards.evaluation import (
    DEFAULT_TIMEOUT,
    Evaluated,
    RewardFunction,
    RewardTerm,
    WeightedRewards,
    evaluate,
    evaluate_terms,
)
from pytest_entropy.rewards.loading import resolve_reward
from pytest_entropy.rewards.named import named_rewards
from pytest_entropy.rewards.notes import reward_notes
from pytest_entropy.rewards.oracle import reward_discrepancy
from pytest_entropy.rewards.requirements import require_answers, require_columns

__all__ = [
    "DEFAULT_TIMEOUT",
    "Evaluated",
    "NamedReward",
    "RewardFunction",
    "RewardTerm",
    "WeightedRewards",
    "boxed",
    "evaluate",
    "evaluate_terms",
    "exact_answer",
    "gsm8k",
    "math_verify",
    "named_rewards",
    "require_answers",
    "require_columns",
    "resolve_reward",
    "reward_discrepancy",
    "reward_notes",
    "sample_of",
    "sample_of_equal",
    "still_terms",
]
