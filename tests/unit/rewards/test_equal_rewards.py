"""Batches whose rewards are equal within every group: said, and shown on one line a part."""

from __future__ import annotations

import json

import pytest

from pytest_entropy.prompts import Prompt
from pytest_entropy.records.serialization import plain
from pytest_entropy.records.update import equal_rewards
from pytest_entropy.rewards import sample_of_equal


@pytest.mark.parametrize(
    ("rewards", "said"),
    [
        ([[0.0, 0.0], [0.0, 0.0]], "all 4 are 0"),
        ([[1.0, 1.0, 1.0]], "all 3 are 1"),
        ([[0.1] * 3, [0.1] * 3], "all 6 are 0.1"),
        ([[1.0, 1.0], [0.0, 0.0]], "each prompt's 2, which differ between prompts only (0 to 1)"),
    ],
)
def test_what_is_equal(rewards: list[list[float]], said: str) -> None:
    assert equal_rewards(rewards) == f"every group of the update batch has equal rewards: {said}"


def test_one_group_that_differs_is_enough() -> None:
    rewards = [[0.0, 0.0], [0.0, 1.0]]
    assert equal_rewards(rewards) is None
    assert sample_of_equal([Prompt("a"), Prompt("b")], [["x", "y"]] * 2, rewards) == []


def test_the_sample_shows_what_the_reward_saw() -> None:
    prompts = [
        Prompt("3 + 4?\x1b[2J\n", {"answer": "<answer>7</answer>\u202e"}),
        Prompt("1 + 1?", {"answer": "2"}),
        Prompt([{"role": "user", "content": "2 + 2?"}], {"solution": 4, "level": "easy"}),
    ]
    texts = [["it is\t7", "no"], ["2", "2"], ["4", "5"]]
    assert plain(sample_of_equal(prompts, texts, [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])) == [
        {
            "prompt": r"3 + 4?\x1b[2J\n",
            "completion": r"it is\t7",
            "answer": r"<answer>7</answer>\u202e",
            "reward": 0.0,
        },
        # Another reward tells more than the second prompt.
        {"prompt": "user: 2 + 2?", "completion": "4", "answer": "level='easy', solution=4", "reward": 1.0},
    ]


def test_the_sample_is_bounded_and_shows_both_ends() -> None:
    long = "start" + "\x00" * 100_000 + "end"
    prompts = [Prompt(long, {"answer": {"target": [long] * 50}})] * 3
    found = sample_of_equal(prompts, [[long]] * 3, [[0.5]] * 3)
    assert len(found) == 2
    assert len(json.dumps(plain(found))) < 15_000
    assert found[0].completion.startswith("start\\x00")
    assert found[0].completion.endswith("\\x00end (100008 characters)")
    assert len(sample_of_equal(prompts[:1], [[long]], [[0.5]])) == 1
