"""Hooks of this plugin for other plugins and conftest files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.hookspec(firstresult=True)
def pytest_entropy_prompts(source: str) -> Any:
    """A prompt set for ``prompts.source`` (len() and [index] -> Prompt), or None to leave it to others."""


@pytest.hookspec(firstresult=True)
def pytest_entropy_reward(name: str) -> Any:
    """A reward function for ``reward``, in TRL's signature, or None to leave it to others."""


@pytest.hookspec
def pytest_entropy_analysis(experiment: str, directory: Path, runs: list[dict[str, Any]]) -> Any:
    """A further analysis of an experiment's finished runs, at session end in the controlling process.

    ``runs`` are the contents of ``results.json``.  Return a mapping of plain builtins; it is kept in the
    session's ``summary.json`` under the name of the plugin that gave it.
    """


@pytest.hookspec
def pytest_entropy_register(registry: ModuleType) -> None:
    """Add parts of one's own: ``registry.add("estimators", "my_estimator", ESTIMATOR)``; kinds are ``registry.KINDS``.

    Called once at configure time, in the controlling process and in each xdist worker, before configurations are read.
    A package adds parts by entry points instead (:mod:`pytest_entropy.registry`), which import nothing until needed.
    """
