"""Reward functions, in TRL's signature: ``f(prompts, completions, **columns) -> list[float | None]``."""

from pytest_entropy.rewards.answers import BUILT_IN, boxed, exact_answer, gsm8k, math_verify
from pytest_entropy.rewards.equal_rewards import sample_of_equal
from pytest_entropy.rewards.evaluation import DEFAULT_TIMEOUT, RewardFunction, RewardTerm, WeightedRewards, evaluate
from pytest_entropy.rewards.loading import resolve_reward
from pytest_entropy.rewards.recheck import reward_gap
from pytest_entropy.rewards.requirements import require_answers, require_columns

__all__ = [
    "BUILT_IN",
    "DEFAULT_TIMEOUT",
    "RewardFunction",
    "RewardTerm",
    "WeightedRewards",
    "boxed",
    "evaluate",
    "exact_answer",
    "gsm8k",
    "math_verify",
    "require_answers",
    "require_columns",
    "resolve_reward",
    "reward_gap",
    "sample_of_equal",
]
