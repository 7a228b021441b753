"""``session.json``: the experiments of a session, of which resumed ones have an older session's stamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored


@dataclass(frozen=True, kw_only=True)
class SessionRecord(Stored):
    """A session's stamp, and the directories of its experiments relative to the results directory."""

    schema_version: int = 1
    stamp: str
    experiments: list[str]

    __pydantic_config__: ClassVar = STRICT
