"""The fixtures of test authors: ``probe_run``, ``probe_runs`` and ``experiment``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_entropy.plugin.attempts import repeated
from pytest_entropy.plugin.experiment import Experiment, FailedProbe, Runs
from pytest_entropy.plugin.news import report_news
from pytest_entropy.plugin.session import session_of

if TYPE_CHECKING:
    from pytest_entropy.records.run import RunRecord
    from pytest_entropy.runs.store import FailedRun

FAILURE: pytest.StashKey[FailedRun] = pytest.StashKey()


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> Experiment:
    """The experiment this test belongs to."""
    from pytest_entropy.records.item import ItemReport

    session = session_of(request.config)
    node = request.node
    execution = session.execution_of(node)
    name, directory = execution.plan.kind.name, str(execution.plan.directory)
    report = ItemReport(experiment=name, directory=directory, attempts=repeated(node))
    node.user_properties += report.to_properties()
    return Experiment(session, execution, node)


@pytest.fixture
def probe_run(request: pytest.FixtureRequest, experiment: Experiment) -> RunRecord:
    """The record of one run: a test with this fixture becomes one item per (B_E, run).

    The item of a run that a target of the error does not need is skipped.
    """
    from pytest_entropy.records.item import ItemReport
    from pytest_entropy.runs.store import FailedRun

    B_E, run = request.param
    execution = experiment._execution
    # An item that is executed again may have the failure of its last attempt.
    if FAILURE in request.node.stash:
        del request.node.stash[FAILURE]
    reason = execution.target.not_needed(run)
    if execution.target.failure is not None:
        report_news(request.node, execution.target.failure)
        execution.target.failure = None
    if reason:
        pytest.skip(reason)
    try:
        result, stored = execution.run(B_E, run)
    except FailedRun as failure:
        request.node.stash[FAILURE] = failure
        request.node.user_properties += ItemReport(B_E=B_E, run=run).to_properties()
        return FailedProbe(failure)  # type: ignore[return-value]
    request.node.user_properties += ItemReport.of_run(result, stored=stored).to_properties()
    request.node.user_properties += ItemReport(pilot=execution.target.pilot_in_words()).to_properties()
    return result


@pytest.fixture
def probe_runs(experiment: Experiment) -> Runs:
    """All runs of the experiment; tests with this fixture come last, and compute the runs that are missing."""
    return experiment.runs
