"""``conclusion.json``: the conclusion of an experiment's analysis, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored


@dataclass(frozen=True)
class Conclusion(Stored):
    """The verdict in a few words, and the reason for it in a sentence."""

    verdict: str | None = None
    reason: str | None = None

    __pydantic_config__: ClassVar = STRICT
