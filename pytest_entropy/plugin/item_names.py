"""Name the tests of the installed experiments by their package, wherever that lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.settings.experiments import PACKAGE, installed_experiments


def named_by_package(module: Path, parent: pytest.Collector) -> pytest.Module | None:
    """The node of an installed experiment's module, None for any other.

    Pytest names files outside its root directory by the command line: the same test of JUnit's file would be called
    ``test_run``, ``test_debug.test_run`` or ``venv.lib.….test_debug.test_run``.  Here it is always
    ``pytest_entropy.experiments.test_debug.test_run``, as ``--pyargs`` has it.
    """
    if not parent.config.option.pyargs or module.parent != installed_experiments():
        return None
    nodeid = f"{PACKAGE.replace('.', '/')}/{module.name}"
    node: pytest.Module = pytest.Module.from_parent(parent, path=module, nodeid=nodeid)
    return node
