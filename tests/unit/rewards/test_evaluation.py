"""Evaluating rewards: what functions are given, how values are combined, and how each failure reads."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards import RewardTerm, WeightedRewards, evaluate
from pytest_entropy.rewards.builtin.base import PlainReward

PROMPTS = [Prompt("two?", {"answer": "2", "level": 1}), Prompt("three?", {"answer": "3"})]
TEXTS = [["2", "two <b>&amp;</b>"], ["3!", "III"]]


def weighted(*terms: tuple[PlainReward, float], timeout: float = 60.0) -> WeightedRewards:
    return WeightedRewards(tuple(RewardTerm(f, f.__name__, w) for f, w in terms), timeout)


def failure(
    reward: WeightedRewards | PlainReward, prompts: list[Prompt] = PROMPTS, texts: list[list[str]] = TEXTS
) -> str:
    with pytest.raises(RunError) as caught:
        evaluate(reward, prompts, texts)
    return str(caught.value)


def length(completions: list[str], **columns: object) -> list[int]:
    return [len(text) for text in completions]


def test_functions_see_flat_lists_with_columns_by_name() -> None:
    seen: dict[str, Any] = {}

    def reward(prompts: list[str], completions: list[str], **columns: object) -> list[int]:
        seen.update(columns, prompts=prompts, completions=completions)
        return [0, 1, 2, 3]

    assert evaluate(reward, PROMPTS, TEXTS) == [[0.0, 1.0], [2.0, 3.0]]
    assert seen["prompts"] == ["two?", "two?", "three?", "three?"]
    assert seen["completions"] == ["2", "two <b>&amp;</b>", "3!", "III"]
    assert seen["answer"] == ["2", "2", "3", "3"]
    assert seen["level"] == [1, 1, None, None]
    assert seen["trainer_state"] is None
    assert seen["log_metric"]("name", 1.0) is None


def test_chat_prompts_get_chat_completions_as_in_trl() -> None:
    from trl.rewards import accuracy_reward  # type: ignore[attr-defined]

    chat = [Prompt([{"role": "user", "content": "two?"}], {"solution": "$2$"})]
    assert evaluate(accuracy_reward, chat, [[r"\boxed{2}", r"\boxed{3}"]]) == [[1.0, 0.0]]


def test_a_function_without_keywords_gets_what_it_names() -> None:
    def reward(completions: list[str], answer: list[str]) -> list[float]:
        return [float(c == a) for c, a in zip(completions, answer, strict=True)]

    assert evaluate(reward, PROMPTS, TEXTS) == [[1.0, 0.0], [0.0, 0.0]]


def test_columns_named_like_arguments_are_not_handed_on() -> None:
    prompts = [Prompt("x", {"prompts": "no", "completion": "no", "answer": "1"})]

    def reward(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        assert "completion" not in columns
        return [float(p == "x") for p in prompts]

    assert evaluate(reward, prompts, [["a", "b"]]) == [[1.0, 1.0]]


def test_a_function_may_spoil_what_it_is_given_but_not_for_the_next() -> None:
    chat = [Prompt([{"role": "user", "content": "q"}])]

    def spoils(
        prompts: list[list[dict[str, str]]], completions: list[list[dict[str, str]]], **columns: object
    ) -> list[int]:
        prompts[0][0]["content"] = completions[0][0]["content"] = "spoilt"
        completions.clear()
        return [1, 1]

    def looks(
        prompts: list[list[dict[str, str]]], completions: list[list[dict[str, str]]], **columns: object
    ) -> list[float]:
        assert prompts[0][0]["content"] == "q"
        return [float(c[0]["content"] == "a") for c in completions]

    assert evaluate(weighted((spoils, 1), (looks, 10)), chat, [["a", "a"]]) == [[11.0, 11.0]]
    assert chat[0].content == [{"role": "user", "content": "q"}]


def test_weights_and_values_that_do_not_apply() -> None:
    def sometimes(completions: list[str], **columns: object) -> list[int | None]:
        return [None, 4, 0, None]

    assert evaluate(weighted((length, 1.0), (sometimes, 0.5)), PROMPTS, TEXTS) == [[1.0, 18.0], [2.0, 3.0]]
    assert evaluate(weighted((length, -2.0)), PROMPTS, TEXTS) == [[-2.0, -32.0], [-4.0, -6.0]]
    message = failure(weighted((sometimes, 1)))
    assert message.startswith("no reward applies (sometimes returned None)")
    assert "prompt: 'two?'" in message
    assert "completion: '2'" in message


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 2, 3],
        (0.0, 1.0, 2.0, 3.0),
        np.arange(4.0),
        np.arange(4, dtype=np.int8),
        torch.arange(4.0),
        [torch.tensor(0.0), np.float32(1), Fraction(2), 3],
        (float(n) for n in range(4)),
        [False, True, 2, 3],
    ],
    ids=["int", "tuple", "array", "small int", "tensor", "scalars", "generator", "bool"],
)
def test_numbers_of_every_kind(values: object) -> None:
    assert evaluate(lambda **_: values, PROMPTS, TEXTS) == [[0.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), "1.0", "", [1.0], {}, 1j, Decimal(1), object(), 10**400,
     torch.tensor(float("nan")), torch.zeros(2), np.str_("1")],
    ids=lambda value: f"{type(value).__name__} {str(value)[:12]}",
)  # fmt: skip
def test_a_value_that_is_no_finite_number_fails_with_its_row(value: object) -> None:
    message = failure(lambda **_: [0, 0, value, 0])
    assert "not a finite number" in message
    assert "prompt: 'three?'" in message
    assert "completion: '3!'" in message
    assert "answer='3'" in message


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([1, 2, 3], "returned 3 rewards for 4 completions"),
        ([], "returned 0 rewards for 4 completions"),
        ([1] * 5, "returned more than 4 rewards for 4 completions"),
        (iter(int, 1), "returned more than 4 rewards for 4 completions"),
        (None, "returned NoneType"),
        (0.5, "returned float 0.5"),
        ("1234", "returned str 1234"),
        ({0: 1, 1: 1, 2: 1, 3: 1}, "returned dict"),
    ],
    ids=["short", "empty", "long", "endless", "None", "one number", "text", "dict"],
)
def test_a_wrong_number_of_values(values: object, part: str) -> None:
    message = failure(lambda **_: values)
    assert part in message
    assert "prompt (the first of 4; which one did it is not known): 'two?'" in message


def test_an_exception_names_the_completion_in_hand() -> None:
    def reward(completions: list[str], answer: list[str], **columns: object) -> list[float]:
        return [grade(text, expected) for text, expected in zip(completions, answer, strict=True)]

    def grade(text: str, expected: str) -> float:
        return float(int(text) == int(expected))

    with pytest.raises(RunError) as caught:
        evaluate(reward, PROMPTS, TEXTS)
    message = str(caught.value)
    assert message.startswith("reward reward raised ValueError: invalid literal for int()")
    assert "completion: 'two <b>&amp;</b>'" in message
    assert "not known" not in message
    assert isinstance(caught.value.__cause__, ValueError)
    assert all(line.startswith("  ") for line in message.splitlines()[1:])


def test_an_exception_names_the_chat_completion_in_hand() -> None:
    def reward(completions: list[list[dict[str, str]]], **columns: object) -> list[float]:
        return [float(completion[0]["content"]) for completion in completions]

    message = failure(reward, [Prompt([{"role": "user", "content": "q"}])], [["1", "no number"]])
    assert "completion: 'no number'" in message


def test_a_completion_that_cannot_be_told_apart_is_not_guessed() -> None:
    def reward(completions: list[str], **columns: object) -> None:
        kept = [completions[0], completions[1]]
        first, second = kept
        raise ValueError(first + second)

    assert "which one did it is not known" in failure(reward, PROMPTS, [["one", "two"], ["three", "four"]])
    # Equal texts may be one object.
    same = "x" * 3

    def raises(completions: list[str], **columns: object) -> None:
        for text in completions:
            raise ValueError(text)

    assert "which one did it is not known" in failure(raises, PROMPTS, [[same, same], [same, same]])


@pytest.mark.parametrize("leave", [lambda: sys.exit(3), lambda: pytest.skip("no"), lambda: pytest.fail("no")])
def test_a_reward_cannot_decide_what_becomes_of_the_test(leave: Callable[[], None]) -> None:
    def reward(completions: list[str], **columns: object) -> None:
        leave()

    assert "reward reward raised" in failure(reward)


def test_ctrl_c_is_not_a_failed_reward() -> None:
    def reward(completions: list[str], **columns: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(reward, PROMPTS, TEXTS)


async def slow_length(completions: list[str], **columns: object) -> list[int]:
    await asyncio.sleep(0.001)
    return [len(text) for text in completions]


def test_async_functions_are_awaited_also_within_a_running_loop() -> None:
    assert evaluate(slow_length, PROMPTS, TEXTS) == [[1.0, 16.0], [2.0, 3.0]]

    async def notebook() -> list[list[float]]:
        return evaluate(slow_length, PROMPTS, TEXTS)

    assert asyncio.run(notebook()) == [[1.0, 16.0], [2.0, 3.0]]


def test_async_exceptions_name_the_completion() -> None:
    async def grade(text: str) -> float:
        await asyncio.sleep(0)
        return float(text)

    async def reward(completions: list[str], **columns: object) -> list[float]:
        return await asyncio.gather(*(grade(text) for text in completions))

    assert "completion: 'two <b>&amp;</b>'" in failure(reward)


def test_a_reward_that_never_returns_is_bounded_and_its_completion_named() -> None:
    def reward(completions: list[str], **columns: object) -> None:
        for text in completions:
            while text.startswith("two"):
                time.sleep(0.01)

    begun = time.monotonic()
    message = failure(weighted((reward, 1), timeout=0.3))
    assert time.monotonic() - begun < 10
    assert "reward reward took longer than 0.3 s (reward_timeout in the configuration)" in message
    assert "completion: 'two <b>&amp;</b>'" in message


def test_an_async_reward_that_never_returns_is_bounded() -> None:
    async def reward(completions: list[str], **columns: object) -> None:
        await asyncio.sleep(600)

    begun = time.monotonic()
    assert "took longer than 0.3 s" in failure(weighted((reward, 1), timeout=0.3))
    assert time.monotonic() - begun < 10


def test_off_the_main_thread() -> None:
    outcome: list[object] = []

    def work() -> None:
        outcome.append(evaluate(length, PROMPTS, TEXTS))
        try:
            evaluate(weighted((lambda **_: time.sleep(5), 1), timeout=0.2), PROMPTS, TEXTS)
        except RunError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert outcome[0] == [[1.0, 16.0], [2.0, 3.0]]
    assert "took longer than 0.2 s" in str(outcome[1])


def test_long_texts_are_cut_in_messages() -> None:
    message = failure(lambda **_: [float("nan")], [Prompt("p" * 10**6)], [["c" * 10**6]])
    assert len(message) < 6000
    assert "(1000002 characters)" in message


def test_a_set_has_no_order_and_is_refused() -> None:
    assert "returned set" in failure(lambda completions, **_: {float(n) for n in range(len(completions))})


def test_a_forked_child_does_not_become_a_second_session(tmp_path: Path) -> None:
    """It leaves the function by sys.exit, as children do; what runs after evaluate() would write to the results."""

    def forks(completions: list[str], **columns: object) -> list[float]:
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        return [1.0] * len(completions)

    evaluate(forks, PROMPTS, TEXTS)
    with (tmp_path / "alive").open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    assert (tmp_path / "alive").read_text() == f"{os.getpid()}\n"
