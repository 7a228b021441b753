"""What the files of a tokenizer say without transformers: which directory it is, its tokens and its chat template.

The rules are those of ``AutoTokenizer.from_pretrained``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pytest_entropy.checkpoints.files import CheckpointFiles, object_or_empty
from pytest_entropy.checkpoints.whole_model import model_directory
from pytest_entropy.errors import UsageError

SETTINGS, SPECIAL, ADDED, WHOLE = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
)
TEMPLATE, FURTHER_TEMPLATES = "chat_template.jinja", "additional_chat_templates"
# Settings that name a token, which templates see as variables.
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# Files that hold a vocabulary; which of them a tokenizer reads depends on its class.
_VOCABULARIES = (
    "tokenizer.*",
    "*.model",
    "vocab.*",
    "*-vocab.*",
    "vocab-*",
    "*.tiktoken",
    "tekken.json",
    "*.spm",
    "*.bpe",
)
# Of a vocabulary in two files.
_PAIR = ("vocab.json", "merges.txt")
# Tokenizers of bytes or characters.
_WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
# A template takes some ten kilobytes.
_LARGEST_TEMPLATE = 4 * 2**20


class AddedToken(NamedTuple):
    """A token outside the vocabulary of the tokenizer's model, and how it is matched in a text."""

    content: str
    options: Mapping[str, bool]


class Template(NamedTuple):
    """The text of a chat template, and the file that holds it."""

    text: str
    file: Path


def has_own_tokenizer(files: CheckpointFiles) -> bool:
    """Whether the tokenizer is the checkpoint's own, as it is for a whole model; else it is its base model's.

    Args:
        files: paths of the checkpoint.
    """
    return files.base is None or any((files.weights / name).is_file() for name in (WHOLE, SETTINGS))


def tokenizer_directory(files: CheckpointFiles) -> Path | None:
    """The directory that the tokenizer is loaded from: the checkpoint's own, else its base model's, cached or not.

    None where the base is not on this machine.
    """
    return files.weights if has_own_tokenizer(files) else model_directory(files)


def tokenizer_place(files: CheckpointFiles) -> Path | None:
    """The directory of a checkpoint's tokenizer; None where it is not on this machine."""
    place = tokenizer_directory(files)
    return place if place is not None and place.is_dir() else None


def require_vocabulary(files: CheckpointFiles) -> None:
    """Reject a directory without a whole vocabulary: of none, transformers makes a tokenizer of no words, silently.

    Args:
        files: paths of the checkpoint.

    Raises:
        UsageError: names the directory, and where the tokenizer may be copied from.
    """
    place = tokenizer_directory(files)
    if place is None:
        return
    half = [name for name in _PAIR if (place / name).is_file()]
    if len(half) == 1 and not any(file.is_file() for name in (WHOLE, "*.model") for file in place.glob(name)):
        (absent,) = set(_PAIR) - set(half)
        raise UsageError(
            f"checkpoint {files.root}: no usable tokenizer in {place}: {half[0]} is there, and {absent}, which belongs "
            "to it, is not; copy it from the base model, or save tokenizer.json there: "
            f"tokenizer.save_pretrained({str(place)!r})"
        )
    if _has_vocabulary(place):
        return
    if object_or_empty(place / SETTINGS).get("tokenizer_class") in _WITHOUT_VOCABULARY:
        return
    base = "" if files.base is None else f" (its base model's is in {files.base}: without {SETTINGS} it is used)"
    raise UsageError(
        f"checkpoint {files.root}: no usable tokenizer in {place}: neither tokenizer.json nor another vocabulary is "
        f"there; save the one that the model was trained with: tokenizer.save_pretrained({str(place)!r}){base}"
    )


def _has_vocabulary(place: Path) -> bool:
    return any(file.is_file() for pattern in _VOCABULARIES for file in place.glob(pattern))


def special_tokens(place: Path) -> dict[str, str | None]:
    """The special tokens that the files name, None where they say that there is none.

    Of names that are left out the tokenizer's class may have a default, which only transformers knows.

    Args:
        place: directory of the tokenizer.
    """
    settings = _merged(place)
    return {name: _content(settings[name]) for name in NAMED if name in settings}


def added_tokens(place: Path) -> dict[int, AddedToken]:
    """The tokens that the settings beside ``tokenizer.json`` number, by id.

    Args:
        place: directory of the tokenizer.
    """
    listed = object_or_empty(place / SETTINGS).get("added_tokens_decoder")
    if isinstance(listed, dict):
        given = ((key, value) for key, value in listed.items() if isinstance(value, dict) and key.isdecimal())
        return {int(key): AddedToken(text, _options(value)) for key, value in given if (text := _content(value))}
    legacy = {text: number for text, number in object_or_empty(place / ADDED).items() if type(number) is int and text}
    return {number: AddedToken(text, {}) for text, number in legacy.items()}


def unnumbered_tokens(place: Path) -> list[AddedToken]:
    """Special tokens that the settings name; the ones that no vocabulary has get the next ids when it is loaded.

    Args:
        place: directory of the tokenizer.
    """
    settings = _merged(place)
    named = [value for key, value in settings.items() if key.endswith("_token")]
    for key in ("extra_special_tokens", "additional_special_tokens"):
        more = settings.get(key) or []
        named += more.values() if isinstance(more, dict) else more if isinstance(more, list) else []
    special = {"special": True}
    return [AddedToken(text, {**_options(value), **special}) for value in named if (text := _content(value))]


def chat_templates(place: Path) -> dict[str, Template]:
    """The tokenizer's chat templates by name; one alone is called ``default``.

    A template's own file is used before the one in the settings.

    Args:
        place: directory of the tokenizer.
    """
    found = {file.stem: file for file in sorted((place / FURTHER_TEMPLATES).glob("*.jinja")) if file.is_file()}
    if (place / TEMPLATE).is_file():
        found.setdefault("default", place / TEMPLATE)
    if found:
        return {name: Template(_text(file), file) for name, file in found.items()}
    stored = object_or_empty(place / SETTINGS).get("chat_template")
    entries = [{"name": "default", "template": stored}] if isinstance(stored, str) else stored
    listed = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    texts = {str(entry.get("name")): entry.get("template") for entry in listed}
    return {name: Template(text, place / SETTINGS) for name, text in texts.items() if isinstance(text, str) and text}


def chat_template(place: Path, *, tools: bool = False) -> Template | None:
    """The chat template that is used; None where there is none of the name that is needed.

    Among several, ``tool_use`` is for prompts with tools, and ``default`` for all others.

    Args:
        place: directory of the tokenizer.
        tools: whether the prompt has tools.
    """
    found = chat_templates(place)
    return found.get("tool_use" if tools and "tool_use" in found else "default")


def _text(file: Path) -> str:
    size = file.stat().st_size
    if size > _LARGEST_TEMPLATE:
        raise UsageError(f"chat template {file} has {size} bytes; one over {_LARGEST_TEMPLATE} is not read")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"chat template {file} cannot be read: {str(error)[:200]}") from None


def _merged(place: Path) -> dict[str, Any]:
    """The settings; of tokenizers whose settings number no tokens, the older map of special tokens overrides them."""
    settings = object_or_empty(place / SETTINGS)
    if "added_tokens_decoder" not in settings:
        settings |= object_or_empty(place / SPECIAL)
    return settings


def _content(value: Any) -> str | None:
    """The text of a token, which the files store as such or with its options."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) and text else None


def _options(value: Any) -> dict[str, bool]:
    keys = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {key: value[key] for key in keys if isinstance(value.get(key), bool)} if isinstance(value, dict) else {}
