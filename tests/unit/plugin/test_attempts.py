"""Which attempt a test item makes, under the plugins that execute items again; and what its reports leave behind."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy.plugin.attempts import attempt_of, begin, executions, repeated
from pytest_entropy.plugin.reporter import Reporter
from pytest_entropy.records.item import ItemReport

MARKED = ("entropy_experiment", "x")


def test_an_item_counts_its_executions_and_forgets_what_it_reported(pytester: pytest.Pytester) -> None:
    item = pytester.getitem("def test_func(): pass")
    item.user_properties = [("before", 1)]
    begin(item)
    assert (executions(item), repeated(item), attempt_of(item)) == (1, None, 1)
    item.user_properties += [MARKED, ("entropy_verdict", "the update batch failed")]
    begin(item)
    assert (executions(item), repeated(item), attempt_of(item)) == (2, 2, 2)
    assert item.user_properties == [("before", 1)]


def test_other_items_keep_their_properties(pytester: pytest.Pytester) -> None:
    item = pytester.getitem("def test_func(): pass")
    begin(item)
    item.user_properties += [("mine", 1)]
    begin(item)
    assert item.user_properties == [("mine", 1)]


def test_executions_in_a_worker_that_crashed_count(pytester: pytest.Pytester) -> None:
    item: Any = pytester.getitem("def test_func(): pass")
    # As pytest-rerunfailures leaves it, which counts them on the controller.
    item.execution_count = 2
    begin(item)
    assert (executions(item), attempt_of(item)) == (2, 2)


def test_a_copy_of_an_item_is_a_later_attempt(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.parametrize('other', [5])\ndef test_func(other): pass")
    items, _ = pytester.inline_genitems("--count=3")
    for item in items:
        begin(item)
    assert [attempt_of(item) for item in items] == [1, 2, 3]
    assert [repeated(item) for item in items] == [None, None, None]


def report_of(when: str, outcome: Any, *properties: tuple[str, object]) -> pytest.TestReport:
    mine = [MARKED, *properties]
    when_: Any = when
    return pytest.TestReport("t.py::test_run", ("t.py", 1, "test_run"), {}, outcome, None, when_, user_properties=mine)


def reported(config: pytest.Config, *reports: pytest.TestReport) -> list[ItemReport]:
    reporter = Reporter(config)
    for report in reports:
        reporter.pytest_runtest_logreport(report)
    assert set(reporter.properties) == {"t.py::test_run"}
    assert [len(names) for names in map(dict, reporter.properties.values())] == [len(reports[-1].user_properties)]
    return reporter.items["x"]


@pytest.mark.parametrize("outcome", ["rerun", "retried"])
def test_a_report_that_another_attempt_follows_is_replaced(pytestconfig: pytest.Config, outcome: str) -> None:
    failed = report_of("call", outcome, ("entropy_verdict", "the update batch failed"))
    passed = report_of("call", "passed", ("attempts", 2), ("delta_h1", 0.5))
    (item,) = reported(pytestconfig, failed, report_of("teardown", "passed", *failed.user_properties[1:]), passed)
    assert (item.outcome, item.attempts, item.delta_h1, item.verdict) == ("passed", 2, 0.5, "")


def test_a_call_that_is_repeated_within_its_report_has_the_properties_of_the_last(pytestconfig: pytest.Config) -> None:
    """pytest-retry puts the last outcome into the first call's report."""
    call = report_of("call", "retried", ("entropy_verdict", "the update batch failed"))
    reporter = Reporter(pytestconfig)
    reporter.pytest_runtest_logreport(call)
    call.outcome = "passed"
    reporter.pytest_runtest_logreport(call)
    reporter.pytest_runtest_logreport(report_of("teardown", "passed", ("attempts", 2), ("delta_h1", 0.5)))
    (item,) = reporter.items["x"]
    assert (item.outcome, item.attempts, item.delta_h1, item.verdict) == ("passed", 2, 0.5, "")
