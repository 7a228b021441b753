"""``conclusion.json``: what an experiment's analysis concluded, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.wire import STRICT, plain, read


@dataclass(frozen=True)
class Conclusion:
    """The verdict in a few words, and the reason for it in a sentence."""

    verdict: str | None = None
    reason: str | None = None

    __pydantic_config__: ClassVar = STRICT

    def to_dict(self) -> dict[str, object]:
        """Plain builtins for JSON."""
        return dict(plain(self))

    @classmethod
    def from_dict(cls, record: object) -> Conclusion:
        """The inverse of :meth:`to_dict`.

        Raises:
            RecordError: verdict or reason is no text.
        """
        return read(cls, record)
