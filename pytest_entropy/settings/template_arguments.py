"""Validation of the variables passed to a chat template (``enable_thinking: false``) by configuration or column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

# The name of the key below ``prompts`` and of the column, the same as in TRL.
COLUMN = "chat_template_kwargs"
# Arguments of ``apply_chat_template`` that the probe itself sets, and names that templates use for them.
RESERVED = frozenset(
    {
        "self", "conversation", "conversations", "messages", "tools", "chat_template", "add_generation_prompt",
        "continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length",
        "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs",
    }
)  # fmt: skip


def template_arguments(value: Any) -> dict[str, object]:
    """Validate variables for a chat template, and return those that are not null, by name.

    Nulls are dropped, because a table's rows hold null for the variables that only other rows set.  JSON text of the
    mapping is read, as data sets store it.

    Raises:
        ValueError: ``value`` is not a mapping; a name is not an identifier, or is reserved for the probe; or a value
            is not plain (text, number, true, false, or lists and mappings of these).
    """
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value or "{}")
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{COLUMN} is a mapping such as {{enable_thinking: false}}, not {_shown(value)}")
    for name, argument in value.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{COLUMN}: {_shown(name)} is not a name that a template can use")
        if name == "tools":
            raise ValueError(f"{COLUMN}: tools is reserved, because tools are a column of their own, named tools")
        if name in RESERVED:
            raise ValueError(f"{COLUMN}: {name} is reserved, because the prompt or the probe determines it; remove it")
        try:
            json.dumps(argument)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{COLUMN}: {name} is {_shown(argument)}, which is not a plain value") from None
    return {name: argument for name, argument in value.items() if argument is not None}


def _shown(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else f"{text[:79]}…"
