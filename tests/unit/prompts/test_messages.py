"""Chat messages as data sets hold them: tool calls without content, lists of parts, nulls of tables, images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt, open_prompts, prompts_from_rows, text_of
from pytest_entropy.rewards.equal_rewards import prompt_text
from pytest_entropy.runs.inputs import prompt_texts
from tests.in_order import in_order

ASK = {"role": "user", "content": "Weather in Paris?"}
CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}},
]}  # fmt: skip
ANSWER = {"role": "tool", "name": "weather", "content": "sunny"}


def described(name: str, **properties: str) -> dict[str, Any]:
    """A tool's JSON schema, its arguments with their types."""
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def made(prompt: object, **columns: object) -> Prompt:
    (one,) = prompts_from_rows([("row 1", {"prompt": prompt, **columns})], source="rows")
    return one


def messages_of(prompt: Prompt) -> list[dict[str, Any]]:
    assert isinstance(prompt.content, list)
    return prompt.content


def parquet(place: Path, rows: list[dict[str, Any]]) -> list[Prompt]:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as files

    files.write_table(pyarrow.Table.from_pylist(rows), place / "rows.parquet")
    return in_order(open_prompts(str(place / "rows.parquet")))


@pytest.mark.parametrize("content", [{"content": None}, {"content": []}, {}], ids=["null", "empty", "missing"])
def test_an_assistants_tool_call_needs_no_content(content: Mapping[str, Any]) -> None:
    call = {**{key: value for key, value in CALL.items() if key != "content"}, **content}
    prompt = made([ASK, call, ANSWER])
    assert isinstance(prompt.content, list)
    assert prompt.content[1].get("content") is None
    assert prompt.content[1]["tool_calls"] == CALL["tool_calls"]
    assert prompt.key == made([ASK, CALL, ANSWER]).key != made([ASK, ANSWER]).key
    assert "weather" in prompt_text(prompt)
    assert "None" not in prompt_text(prompt)
    assert len(list(prompt_texts([prompt]))) == 2


def test_parts_are_kept_without_the_nulls_of_tables(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Weather", "image": None}, {"type": "text", "text": " in Paris?"}]
    expected = [{"type": "text", "text": "Weather"}, {"type": "text", "text": " in Paris?"}]
    assert made([{"role": "user", "content": parts}]).content == [{"role": "user", "content": expected}]
    assert (
        messages_of(made([{"role": "user", "content": ["Weather", {"text": " in Paris?"}]}]))[0]["content"] == expected
    )
    (read,) = parquet(tmp_path, [{"prompt": [{"role": "user", "content": parts, "name": None}]}])
    assert read.content == [{"role": "user", "content": expected}]
    assert read.key == made([ASK]).key, "the same question in parts and as one text"
    assert text_of(messages_of(read)[0]) == "Weather in Paris?"


def test_tables_give_every_call_the_arguments_of_all_calls(tmp_path: Path) -> None:
    other = {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}},
    ]}  # fmt: skip
    tools = [[described("weather", city="string")], [described("add", a="number", b="number")]]
    rows: list[dict[str, Any]] = [
        {"prompt": [ASK, call, ANSWER], "tools": tool} for call, tool in zip([CALL, other], tools, strict=True)
    ]
    for prompt, row in zip(parquet(tmp_path, rows), rows, strict=True):
        assert messages_of(prompt)[1]["tool_calls"] == row["prompt"][1]["tool_calls"]
        assert prompt.template_arguments["tools"] == row["tools"]
    # In JSON a null is the user's own.
    explicit = json.loads(json.dumps([ASK, CALL, ANSWER]).replace('"Paris"}', '"Paris", "days": null}'))
    assert messages_of(made(explicit))[1]["tool_calls"][0]["function"]["arguments"] == {"city": "Paris", "days": None}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"role": "user", "content": None}, "one of the role 'user' has neither content nor tool calls"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "the role 'assistant' has neither content nor tool"),
        ({"role": "user", "content": [{"type": "image"}]}, "a part of type image, and the probe scores text only"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "a part of type image_url"),
        ({"role": "user", "content": [{"type": "video", "video": "x.mp4"}]}, "a part of type video"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "a part of type input_audio"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "image": "x"}]}, "a part of type image"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "a"}]}, "one is of type str 'refusal'"),
        ({"role": "user", "content": [{"type": "text"}]}, "one is dict of length 1"),
        ({**ASK, "tool_calls": "[{}]"}, "tool_calls of a chat message is a list of calls, not str '[{}]'"),
        ({**ASK, "tool_calls": ["add"]}, "tool_calls of a chat message is a list of calls, not list of length 1"),
        ({"from": "human", "value": "3 + 4?"}, 'rename its fields "from" and "value", and human to user, gpt to'),
        ({"role": "user", "content": [3]}, "is {type: text, text: …}, not int '3'"),
        ({"role": "tool", "content": {"sunny": True}}, "is text or a list of text parts, not dict of length 1"),
        ({"role": "user", "content": [{"type": "text", "text": " "}]}, "the prompt is empty"),
        ({"role": "user", "content": [{"type": "text", "text": "\ud800"}]}, "half a character"),
    ],
)
def test_what_is_no_text_is_refused_with_its_row(message: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        made([message])
    assert str(caught.value).startswith("rows, row 1: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("prompt", ["What is this?", [ASK]], ids=["text", "chat"])
def test_images_beside_the_prompt_are_refused_and_their_empty_columns_are_not(prompt: object) -> None:
    for name, value in (("image", {"bytes": b"x"}), ("images", ["a.png"]), ("videos", ["v"]), ("audio", object())):
        with pytest.raises(UsageError, match=f"row 1: column '{name}' holds .* and the probe scores text only"):
            made(prompt, **{name: value})
    assert made(prompt, image=None, images=[]).columns == {"image": None, "images": []}


@pytest.mark.parametrize(
    ("language", "write"),
    [("JSON", json.dumps), ("Python", str), ("Python", lambda value: str(numpy.array(value, dtype=object)))],
)
def test_messages_as_text_of_a_list_are_no_text(language: str, write: Callable[[Any], str]) -> None:
    message = f"row 1: the prompt is the {language} text of chat messages; give the list itself"
    with pytest.raises(UsageError, match=message):
        made(f" {write([ASK, ASK])}\n")
    for text in (
        "[1, 2] in which role?",
        '[{"role" is no JSON',
        "[{'role' is no Python",
        f"[{write(ASK)}] is what I said",
        write([{"roles": "role"}]),
        write(ASK),
        "[]",
    ):
        assert made(text).content == text
