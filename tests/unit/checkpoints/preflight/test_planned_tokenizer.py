"""A tokenizer read from its files alone gives the ids that transformers' tokenizer gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer, Token, planned_tokenizer
from pytest_entropy.checkpoints.preflight.template_rendering import TemplateFailure
from pytest_entropy.errors import UsageError
from pytest_entropy.policy.chat_template import encode_chat
from tests import tiny

SIZE = len(tiny.tokenizer())
TEXT = "Tom <tool>has</tool> 3 [PAD] apples<eos>"
CHAT = [{"role": "user", "content": TEXT}]


def added_before_saving(place: Path) -> None:
    words = AutoTokenizer.from_pretrained(str(place))
    words.add_special_tokens({"additional_special_tokens": ["<tool>", "</tool>"]})
    words.add_tokens(["3 [PAD]"])
    words.save_pretrained(place)


def settings(place: Path, **changes: object) -> None:
    tiny.edit_json(place / "tokenizer_config.json", **changes)


# Ways in which the files name tokens that the vocabulary lacks.
ADDED: dict[str, Callable[[Path], object]] = {
    "nothing added": lambda p: None,
    "saved by transformers": added_before_saving,
    "padding named in the settings": lambda p: settings(p, pad_token="[PAD]"),
    "named as an object": lambda p: settings(p, pad_token={"__type": "AddedToken", "content": "[PAD]", "lstrip": True}),
    "numbered in the settings": lambda p: settings(
        p,
        added_tokens_decoder={str(SIZE): {"content": "<tool>", "special": True}, str(SIZE + 1): {"content": "</tool>"}},
    ),
    "older files": lambda p: (
        (p / "added_tokens.json").write_text(json.dumps({"<tool>": SIZE, "</tool>": SIZE + 1})),
        (p / "special_tokens_map.json").write_text('{"eos_token": "<eos>", "pad_token": "[PAD]"}'),
    ),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tiny.tokenizer().save_pretrained(tmp_path)
    settings(tmp_path, tokenizer_class="PreTrainedTokenizerFast")
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}<tool>{{ m.content }}{% endfor %}{{ eos_token }}"
    )
    return tmp_path


@pytest.mark.parametrize("way", ADDED)
def test_ids_are_those_of_transformers(place: Path, way: str) -> None:
    ADDED[way](place)
    theirs, ours = AutoTokenizer.from_pretrained(str(place)), PlannedTokenizer(place)
    assert ours.highest == max(theirs.get_vocab().values())
    assert (ours.highest >= SIZE) == (way != "nothing added")
    assert ours.encode(TEXT, special=True) == theirs(TEXT)["input_ids"]
    rendered = ours.rendered(CHAT)
    assert rendered is not None
    assert ours.encode(rendered) == encode_chat(theirs, CHAT)
    assert ours.end_token() == [theirs.eos_token_id]
    # Decoding leaves these out, and no word.
    assert set(theirs.all_special_tokens) <= ours.special
    assert not str(theirs.decode(theirs(" ".join(ours.special))["input_ids"], skip_special_tokens=True)).strip()
    assert not ours.special & {"Tom", "3 [PAD]"}


def test_the_first_token_beyond_a_size_is_named(place: Path) -> None:
    settings(place, additional_special_tokens=["<tool>", "</tool>"])
    tokenizer = PlannedTokenizer(place)
    assert tokenizer.beyond(SIZE, TEXT) == Token(SIZE, "<tool>")
    assert tokenizer.beyond(SIZE + 1, TEXT) == Token(SIZE + 1, "</tool>")
    assert tokenizer.beyond(SIZE + 2, TEXT) is None
    assert tokenizer.beyond(SIZE, "Tom has 3") is None


def test_without_tokenizer_json_added_tokens_are_found_word_for_word(place: Path) -> None:
    settings(place, added_tokens_decoder={"304": {"content": "<tool>"}, "7": {"content": "Tom"}})
    (place / "tokenizer.json").rename(place / "vocab.json")
    tokenizer = PlannedTokenizer(place)
    assert tokenizer.highest == 304
    assert tokenizer.beyond(304, TEXT) == Token(304, "<tool>")
    assert tokenizer.beyond(304, "Tom has 3") is None
    assert tokenizer.encode(TEXT) == []
    assert tokenizer.end_token() is None


def test_a_template_that_needs_a_token_of_the_class_is_left_to_loading(place: Path) -> None:
    (place / "chat_template.jinja").write_text("{{ bos_token + messages[0].content }}")
    assert PlannedTokenizer(place).rendered(CHAT) is None
    settings(place, bos_token="<s>")
    assert PlannedTokenizer(place).rendered(CHAT) == f"<s>{TEXT}"
    settings(place, bos_token=None)
    with pytest.raises(TemplateFailure, match="'bos_token' is undefined"):
        PlannedTokenizer(place).rendered(CHAT)


def test_arguments_and_tools_reach_the_template(place: Path) -> None:
    (place / "additional_chat_templates").mkdir()
    (place / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools[0].name }}{{ style }}")
    (place / "chat_template.jinja").write_text("{{ style }}{{ tools }}")
    tokenizer = PlannedTokenizer(place)
    assert tokenizer.rendered(CHAT, {"style": "brief"}) == "briefNone"
    assert tokenizer.rendered(CHAT, {"style": "brief", "tools": [{"name": "add"}]}) == "addbrief"


@pytest.mark.parametrize(
    "content",
    ["{", "version https://git-lfs.github.com/spec/v1\nsize 1\n", '{"model": {"type": "NextBPE"}}'],
    ids=["damaged", "a pointer", "a newer library's"],
)
def test_a_tokenizer_that_cannot_be_read_is_refused_as_loading_it_fails(place: Path, content: str) -> None:
    (place / "tokenizer.json").write_text(content)
    files = CheckpointFiles("test", Path("C"), place, False, place / "optimizer.pt", None)
    with pytest.raises(UsageError, match="tokenizer.json cannot be read"):
        planned_tokenizer(files)
    with pytest.raises(Exception):  # noqa: B017  (any kind)
        AutoTokenizer.from_pretrained(str(place))
