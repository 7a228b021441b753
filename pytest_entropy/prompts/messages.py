"""Chat messages of rows: text or text parts, tool calls, and answers of tools; what is no text is refused."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pytest_entropy.errors import UsageError

# Role, content, and whatever else a chat template reads.
Message = dict[str, Any]

# What an assistant's message may hold instead of a content.
_INSTEAD = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
# Types of text parts; OpenAI's Responses say input_text, and templates know text only.
_TEXT = ("text", "input_text", None)
# Types of parts, their fields and columns beside the prompt that hold no text.
_MEDIA = ("image", "image_url", "input_image", "video", "video_url", "audio", "audio_url", "input_audio")
MEDIA_COLUMNS = ("image", "images", "video", "videos", "audio", "audios")


def chat_messages(messages: Sequence[Any], where: str, *, from_table: bool = False) -> list[Message]:
    """Check the messages of a prompt, and return them without the null fields that table formats add.

    A content that is null stays so: an assistant's message with tool calls has one.

    Args:
        messages: at least one.
        where: source and row, for messages.
        from_table: whether the row comes from a table, where each struct has the fields of all rows, also within tool
            calls.  In JSON a null is the user's own, and stays as transformers would see it.

    Raises:
        UsageError: a message has no role, or a content that is neither text nor text parts.
    """
    return [_message(message, where, from_table) for message in messages]


def _message(message: Any, where: str, from_table: bool) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        fields = isinstance(message, Mapping) and {"from", "value"} <= set(message)
        remedy = ': rename its fields "from" and "value", and human to user, gpt to assistant' if fields else ""
        raise UsageError(f"{where}: a chat message has a role and a content, not {shown(message)}{remedy}")
    kept = {
        str(key): without_nulls(value) if from_table else value for key, value in message.items() if value is not None
    }
    calls = kept.get("tool_calls", [])
    if not isinstance(calls, list | tuple) or not all(isinstance(call, Mapping) for call in calls):
        raise UsageError(f"{where}: tool_calls of a chat message is a list of calls, not {shown(calls)}")
    content = message.get("content")
    if content is None or content == []:
        if not any(message.get(name) for name in _INSTEAD):
            raise UsageError(
                f"{where}: a chat message has a role and a content, and one of the role {message['role']!r} has "
                "neither content nor tool calls"
            )
        return {**kept, "content": None} if "content" in message else kept
    if isinstance(content, str):
        return kept
    if not isinstance(content, list | tuple):
        raise UsageError(
            f"{where}: the content of a chat message is text or a list of text parts, not {shown(content)}"
        )
    return {**kept, "content": [_part(part, where) for part in content]}


def _part(part: Any, where: str) -> Message:
    """A part of a content, as templates that take parts know it."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise UsageError(f"{where}: a part of a chat message is {{type: text, text: …}}, not {shown(part)}")
    fields = {str(key): value for key, value in part.items() if value is not None}
    kind = fields.get("type")
    medium = next((name for name in _MEDIA if kind == name or name in fields), None)
    if medium:
        raise UsageError(
            f"{where}: a chat message has a part of type {medium}, and the probe scores text only: remove the row, or "
            "probe a model of text"
        )
    if kind not in _TEXT or not isinstance(fields.get("text"), str):
        what = shown(part) if kind in _TEXT else f"of type {shown(kind)}"
        raise UsageError(f"{where}: a part of a chat message is {{type: text, text: …}}, and one is {what}")
    return {"type": "text", **fields} if kind is None else {**fields, "type": "text"}


def require_no_media(row: Mapping[str, Any], where: str) -> None:
    """Refuse a row with images, video or audio beside its prompt: the trainer's model saw them, and the probe's not.

    Args:
        row: its columns by name.
        where: source and row, for messages.

    Raises:
        UsageError: names the column.
    """
    for name in MEDIA_COLUMNS:
        value = row.get(name)
        # Arrays and images have a truth value of their own, or none.
        if value is None or (isinstance(value, str | bytes | list | dict) and not value):
            continue
        raise UsageError(
            f"{where}: column {name!r} holds {shown(value)}, and the probe scores text only: remove the row, or the "
            "column if no trainer showed it to the model"
        )


def parts_of(message: Mapping[str, Any]) -> list[str]:
    """The texts of a message's content: one of a text, none of a null."""
    content = message.get("content")
    if content is None:
        return []
    return [content] if isinstance(content, str) else [str(part.get("text", "")) for part in content]


def text_of(message: Mapping[str, Any]) -> str:
    """A message's text for people: its content, its parts one after the other, and its tool calls as they are."""
    calls = message.get("tool_calls")
    return "".join(parts_of(message)) + (f"{calls}" if calls else "")


def without_nulls(value: Any) -> Any:
    """A nested value without the fields that are null, as TRL's ``remove_none_values``."""
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def require_no_messages(text: str, where: str) -> None:
    """Refuse a text that is chat messages as JSON or Python writes them: no template would be applied to it.

    Args:
        text: a prompt.
        where: source and row, for messages.

    Raises:
        UsageError: the text is a list of messages.
    """
    if not text.lstrip().startswith("[") or not re.search(r"""["']role["']""", text):
        return
    for language, read in (("JSON", json.loads), ("Python", _printed)):
        value = None
        with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = read(text.strip())
        if isinstance(value, list) and value and all(isinstance(one, dict) and "role" in one for one in value):
            raise UsageError(
                f"{where}: the prompt is the {language} text of chat messages; give the list itself, so that the chat "
                "template is applied to it"
            )


def _printed(text: str) -> object:
    """The list of which Python, or numpy (without commas), prints a text, as CSV files hold them."""
    return ast.literal_eval(re.sub(r"\}\s+\{", "}, {", text))


def require_text(texts: Iterable[str], where: str) -> None:
    """Refuse a prompt without text, or with half a character.

    Args:
        texts: the prompt's.
        where: source and row, for messages.

    Raises:
        UsageError: the texts are blank, or hold a lone surrogate.
    """
    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise UsageError(f"{where}: the prompt is empty; remove the row")
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{where}: the prompt holds half a character ({text[error.start]!r}, a lone surrogate), which no "
                "tokenizer takes; repair or remove the row"
            ) from None


def shown(value: Any) -> str:
    """A value's type with its beginning or its length, on one line: values of a row may be long and deep."""
    name = type(value).__name__
    if isinstance(value, str | int | float):
        return f"{name} {str(value)[:60]!r}"
    if isinstance(value, list | dict | bytes):
        return f"{name} of length {len(value)}"
    return name
