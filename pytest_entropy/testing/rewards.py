"""Conformance of a reward: in TRL's signature, one number a completion, the same each time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_entropy.prompts import Prompt
from pytest_entropy.registry import get
from pytest_entropy.rewards import WeightedRewards, evaluate, require_columns
from pytest_entropy.rewards.builtin.base import NamedReward
from pytest_entropy.rewards.evaluation import RewardTerm
from pytest_entropy.rewards.oracle import reward_discrepancy

# Completion, columns of its prompt, and the reward that is right.
Case = tuple[str, dict[str, object], float]


def check_reward(name: str, cases: Sequence[Case]) -> None:
    """Check the reward of that name in the registry on completions whose rewards are known.

    It must give the expected rewards for text and for chat completions, alone and among others, and, where it says it
    is repeatable, the same for each completion by itself; one that reads answers gives None where there is none.

    Args:
        name: in the registry.
        cases: completion, columns of its prompt, expected reward; two at least, with different rewards.

    Raises:
        AssertionError: says which of these does not hold, and for which completion.
        RunError: the function raised, or did not return a finite number for each completion.
    """
    reward = get("rewards", name, NamedReward)
    assert len({expected for *_, expected in cases}) > 1, f"reward {name}: give cases with different rewards"
    texts = [[completion] for completion, _, _ in cases]
    term = WeightedRewards((RewardTerm(reward.function, name),))
    for content in ("a question", [{"role": "user", "content": "a question"}]):
        prompts = [Prompt(content, columns) for _, columns, _ in cases]
        require_columns(name, reward.function, prompts)
        found = evaluate(term, prompts, texts)
        for (completion, columns, expected), (value,) in zip(cases, found, strict=True):
            assert math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12), (
                f"reward {name} is {value:g}, expected {expected:g}, for {completion!r} with {columns}"
            )
        gap = reward_discrepancy(term, prompts, texts, found)
        assert (gap is not None) == reward.repeatable
        assert not gap, f"reward {name} says it is repeatable, and differs by {gap:g} for a completion alone"
    if reward.reads_answer:
        nothing = reward.function(prompts=["q"], completions=[cases[0][0]], answer=[None])
        assert list(nothing) == [None], f"reward {name} is {list(nothing)} where no answer is known, expected [None]"
