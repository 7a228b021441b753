"""Hooks of this plugin for other plugins and conftest files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.hookspec(firstresult=True)
def pytest_entropy_prompts(source: str) -> Any:
    """A prompt set (len() and [index] -> Prompt) for a ``prompts.source``, or None if the hook does not know it."""


@pytest.hookspec(firstresult=True)
def pytest_entropy_reward(name: str) -> Any:
    """A reward function in TRL's signature for a name in ``reward``, or None if the hook does not know it."""


@pytest.hookspec
def pytest_entropy_analysis(experiment: str, directory: Path, runs: list[dict[str, Any]]) -> Any:
    """A further analysis of an experiment's finished runs; called at session end in the controlling process.

    Return a mapping of plain builtins: ``summary.json`` holds it under the name of the plugin.

    Args:
        experiment: name of the experiment.
        directory: its directory.
        runs: contents of the runs' ``results.json``.
    """


@pytest.hookspec
def pytest_entropy_register(registry: ModuleType) -> None:
    """Register your own parts: ``registry.add("estimators", "my_estimator", ESTIMATOR)``; kinds are ``registry.KINDS``.

    Called once at configure time, in the controlling process and in each xdist worker, before configurations are read.
    A package adds parts by entry points instead (:mod:`pytest_entropy.registry`), which import nothing until needed.
    """
