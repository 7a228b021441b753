"""Executors by name: what is none is refused before any work."""

from __future__ import annotations

import pytest

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.runs.executors.base import Executor, make_executor


def test_every_built_in_executor_is_made_by_its_name() -> None:
    assert set(registry.names("executors")) >= {"local", "xdist"}
    for name in ("local", "xdist"):
        made = make_executor(name, "gw1", 2)
        assert isinstance(made, Executor)
        assert (made.worker, made.workers) == ("gw1", 2)
        assert made.threads(3) == 3


def test_what_is_no_executor_is_refused(request: pytest.FixtureRequest) -> None:
    with pytest.raises(UsageError, match="executor 'xdits' is not registered; did you mean xdist"):
        make_executor("xdits")
    registry.add("executors", "number", int)
    request.addfinalizer(lambda: registry.forget("executors", "number"))
    with pytest.raises(UsageError, match="executor 'number' is int, expected a class derived from"):
        make_executor("number")
