"""Which part this pytest process plays: alone, the controller of xdist workers, or one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


class Process:
    """One pytest process, as its configuration tells it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._worker_input: Mapping[str, Any] | None = getattr(config, "workerinput", None)

    @property
    def is_worker(self) -> bool:
        """Whether this process is an xdist worker."""
        return self._worker_input is not None

    @property
    def is_controller(self) -> bool:
        """Whether this process hands its tests to xdist workers."""
        options = self._config.getoption
        return not self.is_worker and options("dist", "no") != "no" and bool(options("tx", None))

    @property
    def worker_id(self) -> str | None:
        """The xdist worker's name, such as gw0."""
        return self._worker_input["workerid"] if self._worker_input else None

    @property
    def stamp(self) -> str | None:
        """The session's time stamp as the controller told it to a worker, else None."""
        return self._worker_input["entropy_stamp"] if self._worker_input else None

    @property
    def collects_only(self) -> bool:
        """Whether pytest collects and runs nothing."""
        return bool(self._config.getoption("collectonly", False))
