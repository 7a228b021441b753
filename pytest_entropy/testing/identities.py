"""Conformance of a bookkeeping identity: that of a check, and that it is exact."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_entropy.checks.base import Check
from pytest_entropy.registry import get
from pytest_entropy.testing.checks import ALPHA, Fault, Runs, Subject, hold


def check_identity(name: str, faults: Mapping[str, Fault] | None = None, *, runs: Runs | None = None) -> None:
    """Check the bookkeeping identity of that name in the registry, as
    :func:`~pytest_entropy.testing.checks.check_check` does a check; it must be exact.

    Args:
        name: in the registry.
        faults: by name, functions of correct runs that make numbers not follow from others; each must turn it red.
            None: what needs no fault is checked.
        runs: correct runs that it must pass; if left out, the first of :func:`.recorded.forms` that it does pass.

    Raises:
        AssertionError: says what does not hold, and for which field, form or fault.
        NotRegistered: no identity has this name.
    """
    subject = Subject("bookkeeping", name, get("bookkeeping", name, Check), ALPHA)
    assert not subject.check.statistical, f"{subject} is statistical: what stored numbers keep has no error rate"
    hold(subject, faults, runs=runs, sides=False, turns="fail")
