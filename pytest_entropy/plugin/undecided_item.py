"""End a test item whose sample could not decide: it is skipped, or fails, as configured."""

from __future__ import annotations

from typing import NoReturn

import pytest


def leave_undecided(reason: str, *, fails: bool) -> NoReturn:
    """Skip the running item, or fail it.

    Args:
        reason: why its sample could not decide, and what would.
        fails: whether an inconclusive verdict is configured to fail.
    """
    __tracebackhide__ = True
    if fails:
        pytest.fail(f"INCONCLUSIVE: {reason}", pytrace=False)
    pytest.skip(f"INCONCLUSIVE: {reason}")
