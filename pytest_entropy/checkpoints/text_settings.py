"""Read what a model's ``config.json`` says of its language model, which multimodal models hold as a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The keys under which configurations hold their language model, the outer one first.
_PARTS = ("thinker_config", "text_config", "llm_config", "language_config")


def text_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the settings of its language model in place of the whole model's.

    Args:
        config: the object in ``config.json``.

    >>> text_settings({"model_type": "gemma3", "text_config": {"vocab_size": 9}})["vocab_size"]
    9
    """
    found = dict(config)
    for part in _PARTS:
        inner = found.get(part)
        if isinstance(inner, Mapping):
            found |= inner
    return found
