"""From rows to prompts: columns, templates, chat, sameness, room."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.probe.batches import draw_prompts
from pytest_entropy.prompts import Prompt, prompts_from_rows, require_room
from tests import tiny


def made(rows: Sequence[Mapping[str, object]], **options: Any) -> list[Prompt]:
    return prompts_from_rows([(f"row {n}", row) for n, row in enumerate(rows, 1)], source="test", **options)


def refused(rows: Sequence[Mapping[str, object]], **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        made(rows, **options)
    return str(caught.value)


def test_columns_by_configured_names() -> None:
    rows = [{"question": "q", "solution": "7", "answer": "the long way to 7"}]
    (prompt,) = made(rows, prompt_column="question", answer_column="solution")
    assert prompt.content == "q"
    assert prompt.columns == {"solution": "7", "answer": "7"}


def test_a_nested_answer() -> None:
    (prompt,) = made([{"prompt": "q", "meta": {"gold": {"value": 0}}}], answer_column="meta.gold.value")
    assert prompt.columns["answer"] == 0
    (prompt,) = made([{"prompt": "q", "meta.gold": 1, "meta": {"gold": 2}}], answer_column="meta.gold")
    assert prompt.columns["answer"] == 1


def test_a_configured_answer_column_must_be_there() -> None:
    message = refused([{"prompt": "q", "answer": "7"}], answer_column="solution")
    assert message == (
        "test, row 1: no column 'solution' (found: prompt, answer); name the right one as prompts.answer_column in the "
        "configuration"
    )
    assert "answer" not in made([{"prompt": "q"}])[0].columns


@pytest.mark.parametrize("answer", [7, 7.5, "7", None, True, ["7", "seven"], {"value": 7}])
def test_answers_of_any_kind_are_handed_on(answer: object) -> None:
    assert made([{"prompt": "q", "answer": answer}])[0].columns["answer"] == answer


def test_a_template_of_ones_own() -> None:
    rows = [{"prompt": " What is {x}? \n"}]
    assert made(rows, template="Q: {question}\nA: {")[0].content == "Q: What is {x}?\nA: {"


def test_the_r1_template_asks_for_the_tags_the_built_in_reward_reads() -> None:
    (prompt,) = made([{"question": "1 + 1?", "answer": "#### 2"}], prompt_column="question", template="r1")
    assert isinstance(prompt.content, str)
    assert prompt.content.endswith("User: 1 + 1?. Assistant:")
    assert "<think>" in prompt.content
    assert "<answer>" in prompt.content
    assert prompt.columns["answer"] == "#### 2"


def test_rows_of_one_worked_text() -> None:
    text = "1 + 1? <think>one and one</think> <answer>2</answer>"
    (prompt,) = made([{"text": text}], template="Q: {question}")
    assert prompt.content == "Q: 1 + 1?"
    assert prompt.columns["answer"] == "2"
    # Without a template the solution could end up in the prompt.
    assert "no column 'prompt' (found: text)" in refused([{"text": text}])


@pytest.mark.parametrize("template", ["r2", "no place", "{question} {question}"])
def test_a_template_that_is_none(template: str) -> None:
    assert "nor a text that holds {question} once" in refused([{"prompt": "q"}], template=template)


def test_a_template_does_not_apply_to_chat() -> None:
    rows = [{"prompt": [{"role": "user", "content": "q"}]}]
    assert (
        refused(rows, template="r1")
        == "test, row 1: prompts.template applies to text, and this prompt is chat messages"
    )


# ---------------------------------------------------------------------- sameness


SAME = [
    ("What is 2 + 2?", "What is 2 + 2?\n"),
    ("What is 2 + 2?", "  What   is\t2 + 2?"),
    ("line one\nline two", "line one\r\nline two"),
    ("caf\u00e9", "cafe\u0301"),
    ([{"role": "user", "content": "q"}], [{"content": " q\n", "role": "user"}]),
]
DIFFERENT = [
    ("What is 2 + 2?", "What is 2 + 3?"),
    ("Ann", "ann"),
    ("ab c", "a bc"),
    ("q", [{"role": "user", "content": "q"}]),
    ([{"role": "user", "content": "q"}], [{"role": "system", "content": "q"}]),
    ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], [{"role": "user", "content": "a b"}]),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_question_is_the_same_prompt(
    one: str | list[dict[str, str]], other: str | list[dict[str, str]]
) -> None:
    assert Prompt(one).key == Prompt(other, {"answer": 3}).key


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_questions_are_other_prompts(one: str | list[dict[str, str]], other: str | list[dict[str, str]]) -> None:
    assert Prompt(one).key != Prompt(other).key


def test_copies_are_drawn_once_and_never_into_both_batches() -> None:
    prompts = [Prompt(f"question {n % 10}{' ' * (n // 10)}") for n in range(40)]
    update = draw_prompts(prompts, 4, seed=1)
    entropy = draw_prompts(prompts, 6, seed=2, exclude=frozenset(prompts[n].key for n in update))
    keys = [prompts[n].key for n in update + entropy]
    assert len(set(keys)) == 10
    with pytest.raises(RunError, match="only 6 distinct prompts of 40 are left for 7"):
        draw_prompts(prompts, 7, seed=2, exclude=frozenset(prompts[n].key for n in update))


# ---------------------------------------------------------------------- room and templates of the checkpoint


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return tiny.tokenizer()


def test_prompts_that_leave_no_room_are_named(words: PreTrainedTokenizerFast) -> None:
    prompts = [Prompt("short"), Prompt("0 1 2 3 4 5 6 7 8 9 " * 20), Prompt("x y " * 40)]
    longest = len(words(prompts[1].content)["input_ids"])

    def encode(text: str) -> list[int]:
        ids: list[int] = words(text)["input_ids"]
        return ids

    with pytest.raises(RunError) as caught:
        require_room(prompts, encode, longest, 16)
    message = str(caught.value)
    assert message.startswith("1 of 3 prompts are too long") or message.startswith("2 of 3 prompts are too long")
    assert f"leaves {longest - 16} for the prompt, and the longest has {longest} tokens" in message
    assert "begins '0 1 2 3 4 5 6 7 8 9 0 1" in message
    assert require_room(prompts, encode, longest + 16, 16) is None  # type: ignore[func-returns-value]
    assert require_room(prompts, encode, None, 16) is None  # type: ignore[func-returns-value]


def test_only_prompts_that_could_be_too_long_are_encoded() -> None:
    encoded = []

    def encode(content: list[dict[str, str]]) -> list[int]:
        encoded.append(content)
        return [0] * 9

    chat = [Prompt([{"role": "user", "content": "é" * n}]) for n in (10, 2000)]
    require_room(chat, encode, 4096, 96)
    assert encoded == [chat[1].content]


def test_tools_and_calls_count_as_their_json_with_white_space() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    call: dict[str, Any] = {
        "role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": {"a": 3}}}],
    }  # fmt: skip
    ask: dict[str, Any] = {"role": "user", "content": "3 + 4?"}
    for prompt in (Prompt([ask], {}, {"tools": [tool] * 9}), Prompt([ask, *[call] * 9])):
        assert isinstance(prompt.content, list)
        calls = [message.get("tool_calls") for message in prompt.content]
        spaced = list(json.dumps([calls, dict(prompt.template_arguments)], indent=4).encode())

        def encode(*given: object, ids: list[int] = spaced) -> list[int]:
            return ids

        with pytest.raises(RunError, match="1 of 1 prompts are too long"):
            require_room([prompt], encode, len(spaced) - 20, 1, template_tokens=0)


def test_chat_prompts_go_through_the_checkpoints_own_template(words: PreTrainedTokenizerFast) -> None:
    from dataclasses import replace

    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "q"}]
    policy = replace(tiny.policy(tiny.qwen2(len(words))), tokenizer=tiny.tokenizer())
    with pytest.raises(RunError, match="tokenizer has no chat template"):
        policy.encode(messages)
    policy.tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[me]{% endif %}"
    )
    assert policy.tokenizer.decode(list(policy.encode(messages))) == "[system]be brief[user]q[me]"


def test_chat_messages_keep_their_further_keys() -> None:
    messages = [{"role": "user", "content": "q", "name": "Ann"}]
    assert made([{"prompt": json.loads(json.dumps(messages))}])[0].content == messages
