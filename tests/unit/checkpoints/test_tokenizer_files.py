"""What a tokenizer's files say is what transformers loads from them: the directory, its template, its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.tokenizer_files import (
    added_tokens,
    chat_template,
    require_vocabulary,
    special_tokens,
    tokenizer_directory,
)
from pytest_entropy.errors import UsageError
from tests import tiny


def settings(place: Path, **changes: object) -> None:
    tiny.edit_json(place / "tokenizer_config.json", **changes)


def several(place: Path) -> None:
    (place / "additional_chat_templates").mkdir()
    (place / "additional_chat_templates" / "tool_use.jinja").write_text("with tools")


LAYOUTS: dict[str, tuple[Callable[[Path], object], ...]] = {
    "in the settings": (lambda p: settings(p, chat_template="in settings"),),
    "a file of its own": (lambda p: (p / "chat_template.jinja").write_text("own file"),),
    "file before settings": (
        lambda p: settings(p, chat_template="in settings"),
        lambda p: (p / "chat_template.jinja").write_text("own file"),
    ),
    "several in the settings": (
        lambda p: settings(
            p,
            chat_template=[{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "with tools"}],
        ),
    ),
    "one of several": (lambda p: settings(p, chat_template=[{"name": "default", "template": "plain"}]),),
    "several files": (lambda p: (p / "chat_template.jinja").write_text("own file"), several),
    "files before several in the settings": (
        lambda p: settings(p, chat_template=[{"name": "default", "template": "plain"}]),
        several,
        lambda p: (p / "chat_template.jinja").write_text("own file"),
    ),
    "none": (),
    "null": (lambda p: settings(p, chat_template=None),),
    "a processor's": (lambda p: (p / "chat_template.json").write_text('{"chat_template": "of a processor"}'),),
    "only of another name": (lambda p: settings(p, chat_template=[{"name": "rag", "template": "documents"}]),),
    "only tools, in a file": (several,),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tiny.tokenizer().save_pretrained(tmp_path)
    # As transformers names the class in any version, so that no model's configuration is looked for.
    settings(tmp_path, tokenizer_class="PreTrainedTokenizerFast")
    return tmp_path


@pytest.mark.parametrize("tools", [False, True], ids=["no tools", "tools"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_template_is_the_one_that_transformers_takes(place: Path, layout: str, tools: bool) -> None:
    for change in LAYOUTS[layout]:
        change(place)
    loaded = AutoTokenizer.from_pretrained(str(place))
    try:
        theirs = loaded.get_chat_template(tools=[{}] if tools else None)
    except ValueError:
        theirs = None
    ours = chat_template(place, tools=tools)
    assert (None if ours is None else ours.text) == theirs


def test_the_map_of_special_tokens_counts_where_the_settings_number_none(place: Path) -> None:
    (place / "special_tokens_map.json").write_text('{"bos_token": {"content": "<s>", "lstrip": false}}')
    assert special_tokens(place) == {"bos_token": "<s>", "eos_token": "<eos>", "pad_token": "<eos>"}
    assert AutoTokenizer.from_pretrained(str(place)).bos_token == "<s>"
    settings(place, added_tokens_decoder={"0": {"content": "<eos>", "special": True}}, unk_token=None)
    assert special_tokens(place) == {"eos_token": "<eos>", "pad_token": "<eos>", "unk_token": None}
    assert AutoTokenizer.from_pretrained(str(place)).bos_token is None


def test_tokens_of_an_older_file_are_numbered_as_in_the_newer_one(place: Path) -> None:
    (place / "added_tokens.json").write_text('{"<tool>": 304, "broken": "x"}')
    assert {number: token.content for number, token in added_tokens(place).items()} == {304: "<tool>"}
    settings(place, added_tokens_decoder={"305": {"content": "<call>", "lstrip": True, "special": True}})
    (token,) = added_tokens(place).values()
    assert token.content == "<call>"
    assert token.options == {"lstrip": True, "special": True}


def checkpoint(weights: Path, base: Path | None = None) -> CheckpointFiles:
    return CheckpointFiles("test", Path("C"), weights, base is not None, weights / "o", str(base) if base else None)


def test_the_directory_is_the_adapters_own_if_it_has_a_tokenizer(place: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    assert tokenizer_directory(checkpoint(adapter, place)) == place
    assert tokenizer_directory(checkpoint(place)) == place
    (adapter / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>"}))
    assert tokenizer_directory(checkpoint(adapter, place)) == adapter


def test_a_base_in_the_hub_s_cache_gives_the_tokenizer_of_its_snapshot(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    kept = tmp_path / "hub" / "models--some--base"
    snapshot = kept / "snapshots" / "abc"
    tiny.qwen2(40).save_pretrained(snapshot)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    (tmp_path / "adapter").mkdir()
    files = replace(checkpoint(tmp_path / "adapter"), base="some/base", is_adapter=True)
    with pytest.raises(UsageError, match="no usable tokenizer in .*abc: neither tokenizer.json nor"):
        require_vocabulary(files)
    tiny.tokenizer().save_pretrained(snapshot)
    require_vocabulary(files)
    assert tokenizer_directory(files) == snapshot
    assert tokenizer_directory(replace(files, base="some/other")) is None


def test_a_directory_without_a_vocabulary_is_refused(place: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    require_vocabulary(checkpoint(adapter, place))
    (adapter / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no usable tokenizer in .*adapter: neither .* \(its base model's is in"):
        require_vocabulary(checkpoint(adapter, place))
    (adapter / "vocab.json").write_text("{}")
    with pytest.raises(UsageError, match=r"vocab\.json is there, and merges\.txt, which belongs to it, is not"):
        require_vocabulary(checkpoint(adapter, place))
    (adapter / "merges.txt").write_text("")
    require_vocabulary(checkpoint(adapter, place))
    (adapter / "vocab.json").unlink()
    with pytest.raises(UsageError, match=r"merges\.txt is there, and vocab\.json"):
        require_vocabulary(checkpoint(adapter, place))
    (place / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match="save the one that the model was trained with"):
        require_vocabulary(checkpoint(place))
    settings(place, tokenizer_class="ByT5Tokenizer")
    require_vocabulary(checkpoint(place))


def test_a_template_that_is_no_text_or_too_large_is_refused(place: Path) -> None:
    file = place / "chat_template.jinja"
    file.write_bytes(b"\xff\xfe{{")
    with pytest.raises(UsageError, match="cannot be read"):
        chat_template(place)
    file.write_text("x" * (5 * 2**20))
    with pytest.raises(UsageError, match="has 5242880 bytes"):
        chat_template(place)
