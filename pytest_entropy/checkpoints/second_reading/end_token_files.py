"""The end tokens that JSON files name: generation_config.json, config.json and the tokenizer's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.second_reading.files import json_object


@dataclass(frozen=True)
class NamedEndTokens:
    """End tokens by the files.

    Attributes:
        ids: all ids that a file names, below the vocabulary's size.
        silent: files that name none, so that a default of a library's class may add one.
    """

    ids: frozenset[int]
    silent: tuple[str, ...]


def read_end_tokens(weights: Path, base: str | None) -> NamedEndTokens:
    """Read the end tokens.

    Args:
        weights: directory of the adapter or of the whole model.
        base: directory or hub id of an adapter's base; None for a whole model.

    Raises:
        ValueError: a file is damaged, or the base is not on this machine.
    """
    model = str(weights) if base is None else base
    config = json_object(beside(model, "config.json"))
    text = config.get("text_config") or {}
    own = any((weights / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    words = str(weights) if own else model
    named = set(_ids(json_object(beside(model, "generation_config.json")).get("eos_token_id")))
    silent = []
    if "eos_token_id" in config or "eos_token_id" in text:
        named |= set(_ids(config.get("eos_token_id", text.get("eos_token_id"))))
    else:
        silent.append("config.json")
    last = _tokenizers_own(words)
    if last is None:
        silent.append("the tokenizer's files")
    else:
        named.add(last)
    size = text.get("vocab_size", config.get("vocab_size"))
    if not isinstance(size, int):
        raise ValueError("config.json has no vocab_size")
    return NamedEndTokens(frozenset(i for i in named if 0 <= i < size), tuple(silent))


def beside(place: str, name: str) -> Path:
    """The path of a model's file, in its directory or in the hub's cache.

    Args:
        place: a directory, or a hub id.
        name: the file's.
    """
    if Path(place).is_dir():
        return Path(place) / name
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(place, name)
    return Path(cached) if isinstance(cached, str) else Path(place) / name


def _ids(value: Any) -> list[int]:
    listed = value if isinstance(value, list) else [value]
    return [i for i in listed if isinstance(i, int)]


def _tokenizers_own(place: str) -> int | None:
    """The id of the tokenizer's end token; None where its files do not say."""
    settings = json_object(beside(place, "tokenizer_config.json"))
    token = settings.get("eos_token") or json_object(beside(place, "special_tokens_map.json")).get("eos_token")
    content = token.get("content") if isinstance(token, dict) else token
    if not isinstance(content, str):
        return None
    record = json_object(beside(place, "tokenizer.json"))
    for added in record.get("added_tokens", []):
        if added["content"] == content:
            return int(added["id"])
    for number, added in settings.get("added_tokens_decoder", {}).items():
        if added["content"] == content:
            return int(number)
    vocabulary = record.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, list):
        vocabulary = {entry[0]: number for number, entry in enumerate(vocabulary)}
    found = vocabulary.get(content)
    return found if isinstance(found, int) else None
