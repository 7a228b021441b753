"""What a chat template is told besides the messages: of a run, of a row, and what is not its to be told."""

from __future__ import annotations

import datetime
import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from pytest_entropy.errors import UsageError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.batches import draw_responses
from pytest_entropy.prompts import (
    Prompt,
    open_prompts,
    prompts_from_rows,
    require_room,
    template_arguments,
    with_arguments,
)
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config
from pytest_entropy.settings.probe import ProbeConfig
from pytest_entropy.settings.template_arguments import RESERVED
from tests import tiny
from tests.in_order import in_order

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}{% if add_generation_prompt %}me:{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{{ effort }}"
)
MESSAGES = [{"role": "user", "content": "3 + 4"}]


def chat(count: int = 4, **columns: Any) -> list[Prompt]:
    return [Prompt([{"role": "user", "content": f"{n} + {n}"}], columns) for n in range(count)]


@pytest.fixture(scope="module")
def policy() -> Policy:
    words = tiny.tokenizer()
    words.chat_template = TEMPLATE
    model = tiny.qwen2(len(words), eos_token_id=words.eos_token_id)
    return replace(tiny.policy(model, eos=(words.eos_token_id,)), tokenizer=words)


def test_names_that_the_probe_decides_on_are_those_of_the_tokenizers_method() -> None:
    named = set(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters)
    # Documents are read by the template alone.
    assert named - RESERVED == {"documents", "kwargs"}


def test_they_reach_the_template_of_every_sampled_prompt(policy: Policy) -> None:
    arguments = {"enable_thinking": False, "effort": "high"}
    prompts = in_order(with_arguments(chat(), arguments, "test"))
    config = ProbeConfig(B_U=4, G=2, max_new_tokens=3)
    sampled = draw_responses(policy, prompts, 0, config, group=2).prompt_ids
    for prompt, ids in zip(prompts, sampled, strict=True):
        assert isinstance(prompt.content, list)
        text = policy.tokenizer.apply_chat_template(
            prompt.content, tokenize=False, add_generation_prompt=True, enable_thinking=False, effort="high"
        )
        assert isinstance(text, str)
        assert text.endswith("me:<think></think>high")
        assert policy.tokenizer.decode(list(ids)) == text
    assert sampled != draw_responses(policy, chat(), 0, config, group=2).prompt_ids
    with pytest.raises(Exception, match="4 of 4 prompts are too long"):
        require_room(with_arguments(chat(), {"effort": "high " * 200}, "test"), policy.encode, 300, 3)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_rows_own_column_goes_over_the_runs_key_by_key(tmp_path: Path, kind: str) -> None:
    rows = [
        {"prompt": MESSAGES, "chat_template_kwargs": {"enable_thinking": False}},
        {"prompt": MESSAGES, "chat_template_kwargs": {"enable_thinking": True, "effort": "low"}},
        {"prompt": MESSAGES, "chat_template_kwargs": None},
    ]
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    alone = open_prompts(str(path))
    # A table has a null where a row lacks a name that another one has.
    assert [dict(prompt.template_arguments) for prompt in in_order(alone)] == [
        {"enable_thinking": False}, {"enable_thinking": True, "effort": "low"}, {},
    ]  # fmt: skip
    assert len({prompt.key for prompt in in_order(alone)}) == 3, "the same messages are other prompts"
    assert alone[2].key == Prompt(MESSAGES).key
    found = with_arguments(alone, {"effort": "high", "style": None}, str(path))
    assert [dict(prompt.template_arguments) for prompt in in_order(found)] == [
        {"effort": "high", "enable_thinking": False}, {"effort": "low", "enable_thinking": True}, {"effort": "high"},
    ]  # fmt: skip
    # As TRL hands on every column but the prompt's.
    assert "chat_template_kwargs" in found[0].columns


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"enable_thinking": false}', {"enable_thinking": False}), ("{}", {}), ("", {}), ("null", {})],
)
def test_json_text_of_them_is_read_as_data_sets_store_it(text: str, expected: dict[str, object]) -> None:
    assert template_arguments(text) == expected
    (prompt,) = prompts_from_rows([("row 1", {"prompt": MESSAGES, "chat_template_kwargs": text})], source="rows")
    assert prompt.template_arguments == expected
    assert prompt.columns["chat_template_kwargs"] == text
    (hooked,) = in_order(with_arguments([Prompt(MESSAGES, {"chat_template_kwargs": text})], {}, "hook"))
    assert hooked.template_arguments == expected


def test_sets_of_plugins_have_theirs_in_the_column() -> None:
    class OnDemand:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Prompt:
            return chat(3, chat_template_kwargs={"effort": index} if index < 2 else "low")[index]

    for given in (OnDemand(), [OnDemand()[0], OnDemand()[1]]):
        found = with_arguments(given, {"enable_thinking": False}, "hook")
        assert found[1].template_arguments == {"enable_thinking": False, "effort": 1}
    with pytest.raises(UsageError, match=r"prompts hook, row 3: chat_template_kwargs is a mapping .* not str 'low'"):
        with_arguments(OnDemand(), {}, "hook")[2]
    plain = chat()
    assert with_arguments(plain, {}, "hook") is plain


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("enable_thinking", "a mapping such as {enable_thinking: false}, not str 'enable_thinking'"),
        ([1], r"not list \[1\]"),
        ({"tokenize": False}, "tokenize is reserved, because the prompt or the probe determines it"),
        (
            {"add_generation_prompt": False},
            "add_generation_prompt is reserved, because the prompt or the probe determines it",
        ),
        ({"tools": []}, "tools is reserved, because tools are a column of their own, named tools"),
        ({"messages": []}, "messages is reserved, because the prompt or the probe determines it"),
        ({"a b": 1}, "str 'a b' is not a name"),
        ({3: 1}, "int 3 is not a name"),
        ({"date": datetime.date(2026, 1, 1)}, "date is date datetime.date.* not a plain value"),
        ({"x": b"x" * 500}, "x is bytes b'x+…, which is not a plain value"),
    ],
)
def test_what_is_refused(tmp_path: Path, value: str | list[int] | dict[str | int, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        template_arguments(value)
    with pytest.raises(UsageError, match="chat_template_kwargs"):
        resolve_config([Layer("own.yaml", {"prompts": {"chat_template_kwargs": value}})])


def test_rows_say_where(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for row, message in (
        ({"prompt": MESSAGES, "chat_template_kwargs": [1]}, "line 2: chat_template_kwargs is a mapping"),
        ({"prompt": "3 + 4", "chat_template_kwargs": {"a": 1}}, r"line 2: chat_template_kwargs \(a\) is for chat mess"),
    ):
        path.write_text("\n" + json.dumps(row))
        with pytest.raises(UsageError, match=message):
            open_prompts(str(path))
    path.write_text(json.dumps({"prompt": "3 + 4", "chat_template_kwargs": {}}))
    assert open_prompts(str(path))[0].content == "3 + 4"


def test_they_are_part_of_the_configuration_and_of_its_digest() -> None:
    def made(*layers: Mapping[str, Mapping[str, object]]) -> ResolvedConfig:
        return resolve_config([Layer(f"layer {n}", {"prompts": layer}) for n, layer in enumerate(layers, 1)])

    below = {"chat_template_kwargs": {"enable_thinking": True, "effort": "low"}}
    both = made(below, {"chat_template_kwargs": {"enable_thinking": False}})
    assert both.config.prompts.chat_template_kwargs == {"enable_thinking": False, "effort": "low"}
    assert both.sources["prompts.chat_template_kwargs.enable_thinking"] == "layer 2"
    assert both.sources["prompts.chat_template_kwargs.effort"] == "layer 1"
    assert len({made(below).digest(), both.digest(), made({}).digest()}) == 3
    assert made(below, {"chat_template_kwargs": {"effort": None}}).config.prompts.chat_template_kwargs == {
        "enable_thinking": True
    }
