"""For those who add parts: a conformance check for each kind, a policy small enough to enumerate, recorded runs, and
tiny checkpoints.

A test of an installed part is a line or two::

    from pytest_entropy.testing import check_estimator, check_identity, recorded

    def test_my_estimator():
        check_estimator("my_estimator")

    def test_my_identity():
        check_identity("my_identity", {"twice": recorded.on_every_run(lambda run: replace(run, eta=2 * run.eta))})

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
