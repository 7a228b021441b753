"""Turn a run's failure and an inconclusive verdict into the outcome of a test item."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_entropy.plugin import options
from pytest_entropy.plugin.declared_experiments import EXPERIMENT_FIXTURE
from pytest_entropy.plugin.fixtures import FAILURE
from pytest_entropy.plugin.news import report_news
from pytest_entropy.plugin.session import session_of
from pytest_entropy.plugin.undecided_item import leave_undecided

if TYPE_CHECKING:
    from pytest_entropy.runs.store import FailedRun, NeededRunsFailed


def raise_failed_run(item: pytest.Item) -> None:
    """Fail an item whose run failed while its fixtures were set up.

    Raises:
        FailedRun: the run failed.
    """
    __tracebackhide__ = True
    failure = item.stash.get(FAILURE, None)
    if failure is not None:
        # pytest-retry makes no report of a later attempt by which the news could be told.
        report_news(item, failure)
        raise failure


def failure_of(call: pytest.CallInfo[None]) -> FailedRun | NeededRunsFailed | None:
    """The failure of a run that ended a phase of a test item; None if it ended otherwise."""
    # Only pytest_entropy.runs.store raises them; if that is not imported, the error is another one.
    store = sys.modules.get("pytest_entropy.runs.store")
    if store is None or call.excinfo is None:
        return None
    error = call.excinfo.value
    return error if isinstance(error, store.FailedRun | store.NeededRunsFailed) else None


def say_in_a_sentence(report: pytest.TestReport, failure: FailedRun | NeededRunsFailed) -> None:
    """Reduce the report of a failed item to the message: the run's directory holds the traceback and the log."""
    report.longrepr = failure.message
    report.sections = [section for section in report.sections if not section[0].startswith("Captured log")]


@contextmanager
def inconclusive_as_configured(item: pytest.Item) -> Iterator[None]:
    """Skip or fail the item, as configured, if the block raises :class:`~pytest_entropy.stats.Inconclusive`."""
    __tracebackhide__ = True
    try:
        yield
    except BaseException as error:
        # Only pytest_entropy.stats raises it; if that is not imported, the error is another one.
        stats = sys.modules.get("pytest_entropy.stats")
        if stats is None or not isinstance(error, stats.Inconclusive):
            raise
        from pytest_entropy.records.item import ItemReport

        item.user_properties += ItemReport(inconclusive=str(error)).to_properties()
        leave_undecided(str(error), fails=_mode(item) == "fail")


def _mode(item: pytest.Item) -> str:
    """The outcome of an inconclusive verdict: ``skip`` or ``fail``."""
    if EXPERIMENT_FIXTURE in getattr(item, "fixturenames", ()):
        return session_of(item.config).planning.plan_of(item).resolved.config.checks.inconclusive
    return options.given(item.config, "--entropy-inconclusive") or "skip"
