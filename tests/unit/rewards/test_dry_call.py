"""Rewards called with right completions while planning: what does not get the highest value is refused with its row."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards import NamedReward, named_rewards, require_columns, reward_notes
from pytest_entropy.rewards.builtin.base import PlainReward

BUILT_IN = {name: reward.function for name, reward in named_rewards().items()}


def rows(*answers: Any, column: str = "answer", chat: bool = False) -> list[Prompt]:
    contents: list[Any] = [[{"role": "user", "content": f"q{n}"}] if chat else f"q{n}" for n in range(len(answers))]
    return [Prompt(content, {column: answer}) for content, answer in zip(contents, answers, strict=True)]


def test_every_built_in_reward_takes_part() -> None:
    for name, reward in named_rewards().items():
        if reward.reads_answer:
            assert reward.right_completion is not None, name


def test_the_refusal_names_row_answer_completion_and_value() -> None:
    with pytest.raises(UsageError) as raised:
        require_columns("boxed", BUILT_IN["boxed"], rows("7", "8", "{7"))
    message = str(raised.value)
    assert "reward boxed does not give its highest value to 1 of 3 right completions; the first: row 3, " in message
    assert r"answer '{7', completion '\\boxed{{7}', reward 0" in message.replace(r"\boxed", r"\\boxed")
    assert "\n" not in message


def test_answers_that_are_no_mathematics_are_refused_where_all_are_and_noted_where_some_are() -> None:
    with pytest.raises(UsageError, match="2 of 2 right completions.*answer 'Paris'.*reward None"):
        require_columns("math_verify", BUILT_IN["math_verify"], rows("Paris", "Rome"))
    mixed = rows("7", "Rome", "8")
    require_columns("math_verify", BUILT_IN["math_verify"], mixed)
    (note,) = reward_notes("math_verify", BUILT_IN["math_verify"], mixed)
    assert "gives less than its highest value, or None, to 1 of 3 right completions (the first: row 2" in note
    assert reward_notes("math_verify", BUILT_IN["math_verify"], rows("7", "8")) == []


def double(prompts: list[Any], completions: list[Any], answer: list[Any], **columns: Any) -> list[float]:
    return [2.0 * (text == f"={gold}") for text, gold in zip(completions, answer, strict=True)]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, NamedReward]:
    """Rewards that another package has registered."""
    added: dict[str, NamedReward] = {}
    real = registry.names
    get = registry.get
    monkeypatch.setattr(registry, "names", lambda kind: [*real(kind), *(added if kind == "rewards" else ())])
    monkeypatch.setattr(registry, "get", lambda kind, name, of: added[name] if name in added else get(kind, name, of))
    return added


@pytest.mark.parametrize(
    ("form", "highest", "refused"),
    [("={}".format, 2.0, False), ("={}".format, 1.0, True), ("{}".format, 2.0, True), (None, 1.0, False)],
)
def test_installed_rewards_take_part_by_their_own_notation(
    installed: dict[str, NamedReward], form: Any, highest: float, refused: bool
) -> None:
    installed["double"] = NamedReward(double, reads_answer=True, right_completion=form, highest=highest)
    if refused:
        with pytest.raises(UsageError, match="reward double does not give its highest value to 2 of 2"):
            require_columns("double", double, rows("7", "8"))
    else:
        require_columns("double", double, rows("7", "8"))


def test_a_users_function_is_not_called() -> None:
    called = []

    def paid(completions: list[Any], answer: list[Any]) -> list[float]:
        called.append(answer)
        return [0.0] * len(completions)

    require_columns("rewards.py:paid", paid, rows("7"))
    assert reward_notes("rewards.py:paid", paid, rows("7")) == []
    assert called == []


GSM8K = "Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72"


@pytest.mark.parametrize(
    ("name", "prompts", "said"),
    [
        ("accuracy_reward", rows(GSM8K, r"so $\boxed{\frac{1}{2}}$", column="solution", chat=True), ""),
        ("reasoning_accuracy_reward", rows(GSM8K, "7", column="solution", chat=True), ""),
        ("think_format_reward", rows("7", chat=True), ""),
        # Letters, words and LaTeX without dollars are skipped by TRL, every one.
        (
            "accuracy_reward",
            rows("D", r"\frac12", column="solution", chat=True),
            "2 of 2 right completions.*reward None",
        ),
        ("accuracy_reward", rows("7", column="solution"), "raised TypeError.*need chat messages"),
        ("think_format_reward", rows("7"), "raised TypeError.*need chat messages"),
        ("accuracy_reward", rows(7, column="solution", chat=True), "right completions"),
        ("accuracy_reward", rows("7", chat=True), "needs the column 'solution'.*the prompts have 'answer': rename"),
    ],
)
def test_trl_rewards_are_tried(name: str, prompts: list[Prompt], said: str) -> None:
    function: PlainReward = getattr(pytest.importorskip("trl.rewards"), name)
    label = f"trl.rewards.{name}"
    if said:
        with pytest.raises(UsageError, match=f"(?s)^reward {label} .*{said}"):
            require_columns(label, function, prompts)
    else:
        require_columns(label, function, prompts)
