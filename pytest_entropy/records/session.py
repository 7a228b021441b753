"""``session.json``: which experiments a session was about; resumed ones carry an older session's stamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.wire import STRICT, plain, read


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """A session by its stamp, and its experiments' directories relative to the results directory."""

    schema_version: int = 1
    stamp: str
    experiments: list[str]

    __pydantic_config__: ClassVar = STRICT

    def to_dict(self) -> dict[str, object]:
        """Plain builtins for JSON."""
        return dict(plain(self))

    @classmethod
    def from_dict(cls, record: object) -> SessionRecord:
        """The inverse of :meth:`to_dict`.

        Raises:
            RecordError: it is not a session's.
        """
        return read(cls, record)
