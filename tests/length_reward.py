"""The reward of small tests: how long a completion is, so that random policies' rewards differ."""

from __future__ import annotations

from typing import Any


def length(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    """Characters of each completion, over 40."""
    return [len(text) / 40 for text in completions]
