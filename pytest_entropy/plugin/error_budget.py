"""Split the session's false-alarm budget over its planned checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pytest_entropy.plugin import markers


def shares_of(items: Sequence[pytest.Item], alpha_of: Callable[[pytest.Item], float]) -> dict[str, float]:
    """Each check's share of the false-alarm budget by node id, in proportion to its weight.

    Args:
        items: the collected tests; those without the check marker get no share.
        alpha_of: gives the false-alarm budget (a probability) configured for a check's experiment; the session's
            budget is the smallest of them.

    Raises:
        UsageError: as ``alpha_of`` raises it.
    """
    weights = {item.nodeid: _weight(item) for item in items if item.get_closest_marker(markers.CHECK)}
    if not weights:
        return {}
    from pytest_entropy.stats import split_budget

    return split_budget(min(alpha_of(item) for item in items if item.nodeid in weights), weights)


def _weight(item: pytest.Item) -> float:
    marker = item.get_closest_marker(markers.CHECK)
    return float(marker.kwargs.get("weight", 1.0)) if marker else 0.0
