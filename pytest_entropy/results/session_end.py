"""The files a session leaves when it ends, next to the experiments' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def write_session_files(config: pytest.Config, experiments: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Summaries and reports of every experiment that has records."""
