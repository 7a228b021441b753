"""How often a test item has been executed: plugins that rerun, retry or repeat tests execute an item again.

None of them is imported: an item is counted as pytest sets it up, which all of them ask for.
"""

from __future__ import annotations

import re

import pytest

# Marks the items of experiments among all items (records/item.py).
EXPERIMENT_PROPERTY = "entropy_experiment"
# Executions of an item in this process, and its properties before the first.
_EXECUTIONS = pytest.StashKey[int]()
_PROPERTIES = pytest.StashKey[tuple[tuple[str, object], ...]]()
# The parameters by which pytest-repeat (--count) and pytest-flakefinder make copies of an item, numbered from 0.
_COPY = re.compile(r"__pytest_repeat_step_number|__flakefinder_\w+")


def begin(item: pytest.Item) -> None:
    """Count an execution of an item; what an earlier one has reported of its experiment is forgotten."""
    item.stash[_EXECUTIONS] = item.stash.get(_EXECUTIONS, 0) + 1
    before = item.stash.setdefault(_PROPERTIES, tuple(item.user_properties))
    if any(name == EXPERIMENT_PROPERTY for name, _ in item.user_properties):
        item.user_properties[:] = before


def executions(item: pytest.Item) -> int:
    """The number of times that an item was executed, this time included.

    pytest-rerunfailures counts those in a worker that crashed, too.
    """
    elsewhere = getattr(item, "execution_count", 0)
    return max(item.stash.get(_EXECUTIONS, 1), elsewhere if isinstance(elsewhere, int) else 0)


def repeated(item: pytest.Item) -> int | None:
    """The number of the item's executions, for its report; None of an item that was executed once."""
    return count if (count := executions(item)) > 1 else None


def attempt_of(item: pytest.Item) -> int:
    """The attempt that an item makes at its runs: its execution, after one by each of the copies before it."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    copies = [value for name, value in parameters.items() if _COPY.fullmatch(name) and isinstance(value, int)]
    return executions(item) + sum(copies)
