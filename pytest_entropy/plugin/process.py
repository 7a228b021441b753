"""The role of this pytest process: alone, the controller of xdist workers, or a worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


class Process:
    """The role of a pytest process, read from its configuration."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._worker_input: Mapping[str, Any] | None = getattr(config, "workerinput", None)

    @property
    def is_worker(self) -> bool:
        """Whether this process is an xdist worker."""
        return self._worker_input is not None

    @property
    def is_controller(self) -> bool:
        """Whether this process distributes its tests to xdist workers."""
        options = self._config.getoption
        return not self.is_worker and options("dist", "no") != "no" and bool(options("tx", None))

    @property
    def worker_id(self) -> str | None:
        """The xdist worker's name, such as gw0."""
        return self._worker_input["workerid"] if self._worker_input else None

    @property
    def stamp(self) -> str | None:
        """On a worker the session's time stamp, which the controller sent; else None."""
        return self._worker_input["entropy_stamp"] if self._worker_input else None

    @property
    def collects_only(self) -> bool:
        """Whether pytest collects tests without running them."""
        return bool(self._config.getoption("collectonly", False))
