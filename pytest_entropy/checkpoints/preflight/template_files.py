"""The chat templates of a checkpoint's tokenizer, and their text of messages, without loading the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, read_object
from pytest_entropy.errors import UsageError

# Real ones have 1 to 20 kB.
_LARGEST = 2**20
_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class ChatTemplates:
    """The templates in a tokenizer's files.

    Attributes:
        place: the tokenizer's directory.
        by_name: the templates' texts; one alone is called ``default``.
        tokens: the special tokens that templates write, by the names of their variables.
    """

    place: Path
    by_name: Mapping[str, str]
    tokens: Mapping[str, str]

    def chosen(self, tools: object) -> str | None:
        """The template that transformers takes for a prompt with or without tools; None where it has none to take."""
        return self.by_name.get("tool_use" if tools and "tool_use" in self.by_name else "default")

    def render(self, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> str:
        """The text of a conversation and the header of the assistant's turn, by transformers' own renderer.

        Args:
            messages: the conversation.
            arguments: further arguments by name, ``tools`` among them.

        Raises:
            Exception: whatever the template, a program by a stranger, or its rendering raises.
        """
        # Imported without torch.
        from transformers.utils.chat_template_utils import render_jinja_template

        further = dict(arguments)
        tools, documents = further.pop("tools", None), further.pop("documents", None)
        # Annotated as a text, it returns texts and positions.
        rendered: Any = render_jinja_template(
            [[{key: value for key, value in message.items() if value is not None} for message in messages]],
            tools=tools,
            documents=documents,
            chat_template=self.chosen(tools),
            add_generation_prompt=True,
            **{**self.tokens, **further},
        )
        return str(rendered[0][0])


def tokenizer_place(files: CheckpointFiles) -> Path | None:
    """The directory of a checkpoint's tokenizer; None where it is a model's in the hub cache, which is not read."""
    has_tokenizer = any((files.weights / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    place = files.weights if has_tokenizer or not files.base else Path(files.base)
    return place if place.is_dir() else None


def read_templates(place: Path) -> ChatTemplates:
    """The templates in a tokenizer's directory, a file of their own before the settings' entry, as transformers does.

    Args:
        place: the tokenizer's directory.

    Raises:
        UsageError: a file is too large, or cannot be read.
    """
    settings = read_object(place / "tokenizer_config.json") if (place / "tokenizer_config.json").is_file() else {}
    by_name = _in_settings(settings.get("chat_template"))
    legacy = place / "chat_template.json"
    if not by_name and legacy.is_file():
        by_name = _in_settings(read_object(legacy).get("chat_template"))
    own = {file.stem: _text(file) for file in sorted((place / "additional_chat_templates").glob("*.jinja"))[:20]}
    if (place / "chat_template.jinja").is_file():
        own["default"] = _text(place / "chat_template.jinja")
    return ChatTemplates(place, own or by_name, _tokens(place, settings))


def _in_settings(entry: object) -> dict[str, str]:
    """The templates of a tokenizer's settings: one text, or a list of named ones."""
    if isinstance(entry, str):
        return {"default": entry}
    named = entry if isinstance(entry, list) else []
    pairs = [(one.get("name"), one.get("template")) for one in named if isinstance(one, dict)]
    return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}


def _tokens(place: Path, settings: Mapping[str, object]) -> dict[str, str]:
    former = read_object(place / "special_tokens_map.json") if (place / "special_tokens_map.json").is_file() else {}
    tokens = {}
    for name in _TOKENS:
        value = settings.get(name) or former.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            tokens[name] = value
    return tokens


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise UsageError(f"checkpoint file {file} has {file.stat().st_size} bytes, more than a chat template could")
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"checkpoint file {file} cannot be read: {error.strerror}") from error
