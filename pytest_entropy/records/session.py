"""``session.json``: which experiments a session was about; resumed ones carry an older session's stamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored


@dataclass(frozen=True, kw_only=True)
class SessionRecord(Stored):
    """A session by its stamp, and its experiments' directories relative to the results directory."""

    schema_version: int = 1
    stamp: str
    experiments: list[str]

    __pydantic_config__: ClassVar = STRICT
