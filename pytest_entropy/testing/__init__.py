"""For those who add parts: conformance checks by name, a policy small enough to enumerate, and tiny checkpoints.

A test of an installed estimator is one line::

    from pytest_entropy.testing import check_estimator

    def test_my_estimator():
        check_estimator("my_estimator")

Each check raises :class:`AssertionError` that says what does not hold.  torch is imported when one is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "check_estimator": "estimators",
    "check_update_rule": "update_rules",
    "check_optimizer": "optimizers",
    "check_layout": "layouts",
    "check_reward": "rewards",
    "check_prompt_source": "prompt_sources",
    "check_check": "checks",
    "check_identity": "identities",
    "check_report_section": "report_sections",
    "check_executor": "executors",
    "enumerable": "enumerable",
    "recorded": "recorded",
    "tiny": "tiny",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_WHERE[name]}")
    return getattr(module, name, module)
