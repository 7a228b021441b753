"""Dotted keys of the configuration, such as ``batch_config.G``, as nested dictionaries."""

from __future__ import annotations

from typing import Any


def nested(key: str, value: Any) -> dict[str, object]:
    """Nested dictionaries with one value at a dotted key.

    >>> nested("a.b", 1)
    {'a': {'b': 1}}
    """
    first, *parts = key.split(".")
    for part in reversed(parts):
        value = {part: value}
    return {first: value}
