"""Which arguments a chat template may be given (``enable_thinking: false``), by the configuration or by a column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# The name of the key below ``prompts`` and of the column, as TRL has them.
COLUMN = "chat_template_kwargs"
# What the probe itself decides when it applies a template, and the template's own names for it.
RESERVED = frozenset(
    {
        "self", "conversation", "conversations", "messages", "tools", "chat_template", "add_generation_prompt",
        "continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length",
        "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs",
    }
)  # fmt: skip


def template_arguments(value: Any) -> dict[str, object]:
    """The arguments in a mapping by name; those that are null are not given (tables hold nulls for other rows' names).

    Raises:
        ValueError: not a mapping, a name that is none or that the probe itself decides on, or a value that is not
            plain (text, number, true, false, lists and mappings of these).
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{COLUMN} is a mapping such as {{enable_thinking: false}}, not {_shown(value)}")
    for name, argument in value.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{COLUMN}: {_shown(name)} is no name that a template could use")
        if name in RESERVED:
            raise ValueError(
                f"{COLUMN}: {name} is not the template's to be told: it is given by the prompt and the probe; remove it"
            )
        try:
            json.dumps(argument)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{COLUMN}: {name} is {_shown(argument)}, which is no plain value") from None
    return {name: argument for name, argument in value.items() if argument is not None}


def _shown(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else f"{text[:79]}…"
