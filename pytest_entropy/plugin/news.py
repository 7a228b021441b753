"""The news of a failed run: the first item of a process that meets it tells it to the session's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_entropy.runs.store import FailedRun, NeededRunsFailed

# The items of this process that have reported a failure, by experiment and reason.
_TOLD = pytest.StashKey[dict[tuple[object, str], str]]()


def report_news(item: pytest.Item, failure: FailedRun | NeededRunsFailed) -> None:
    """Make a failure that no other item has the item's verdict, so that the session's summary says it, and once."""
    told = item.config.stash.setdefault(_TOLD, {})
    experiment = dict(item.user_properties).get("entropy_experiment")
    # An item that is executed again says again what its last attempt said.
    if failure.news and told.setdefault((experiment, failure.news.reason), item.nodeid) == item.nodeid:
        from pytest_entropy.records.item import ItemReport

        news = ItemReport(verdict=failure.news.what, reason=failure.news.reason).to_properties()
        item.user_properties += [pair for pair in news if pair not in item.user_properties]
