"""Rewards against each completion's own, by the functions that may be asked twice."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards import RewardTerm, WeightedRewards, boxed, evaluate, exact_answer, reward_discrepancy
from pytest_entropy.rewards.builtin.base import PlainReward

PROMPTS = [Prompt("2 + 2", {"answer": "4"}), Prompt([{"role": "user", "content": "1 + 2"}], {"answer": "3"})]
TEXTS = [["<answer>4</answer>", r"\boxed{4}"], ["<answer>4</answer>", "<answer>3</answer>"]]
BOTH = WeightedRewards((RewardTerm(exact_answer, "exact", 2.0), RewardTerm(boxed, "boxed", 0.5)))


@pytest.mark.parametrize("reward", [exact_answer, BOTH], ids=["one", "weighted"])
def test_what_evaluate_gives_has_no_gap(reward: PlainReward | WeightedRewards) -> None:
    assert reward_discrepancy(reward, PROMPTS, TEXTS, evaluate(reward, PROMPTS, TEXTS)) == 0.0


def test_an_exchanged_reward_is_a_gap() -> None:
    given = evaluate(BOTH, PROMPTS, TEXTS)
    assert given == [[2.0, 0.5], [0.0, 2.0]]
    assert reward_discrepancy(BOTH, PROMPTS, TEXTS, given[::-1]) == 2.0
    assert reward_discrepancy(BOTH, PROMPTS, TEXTS, [[2.0, 0.5], [0.0, 1.0]]) == 1.0


def test_a_reward_that_is_not_a_number_is_no_agreement() -> None:
    found = reward_discrepancy(BOTH, PROMPTS, TEXTS, [[2.0, math.nan], [0.0, 2.0]])
    assert found is not None
    assert math.isnan(found)


def test_a_function_of_someone_elses_is_not_asked_twice() -> None:
    calls = []

    def paid(completions: list[str | list[dict[str, str]]], **columns: Any) -> list[float]:
        calls.append(1)
        return [0.0] * len(completions)

    rewards = WeightedRewards((RewardTerm(exact_answer, "exact"), RewardTerm(paid, "paid")))
    given = evaluate(rewards, PROMPTS, TEXTS)
    assert reward_discrepancy(rewards, PROMPTS, TEXTS, given) is None
    assert len(calls) == 1
