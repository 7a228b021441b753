"""What checks are told of themselves, for tests that run many of them with the same words."""

from __future__ import annotations

from typing import TypedDict


class CheckWords(TypedDict):
    """A check's name, its null hypothesis, the unit of its effect, and what a red one points to."""

    name: str
    null: str
    unit: str
    likely_causes: str
