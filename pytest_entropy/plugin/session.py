"""The state of one pytest process: its role, its plans, their executions, and the checks' error budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_entropy.plugin import options
from pytest_entropy.plugin.attempts import attempt_of
from pytest_entropy.plugin.declared_experiments import RUNS_FIXTURE
from pytest_entropy.plugin.error_budget import shares_of
from pytest_entropy.plugin.process import Process
from pytest_entropy.plugin.session_executor import SessionExecutor
from pytest_entropy.plugin.session_plans import SessionPlans

if TYPE_CHECKING:
    from pytest_entropy.runs.execution import Execution

KEY = pytest.StashKey["EntropySession"]()


class EntropySession:
    """The state of one process, made at configure time; it costs nothing until an experiment is collected.

    Attributes:
        process: its role: a worker, the controller, or alone.
        computing: executor, machine, executions.
        planning: the plans, the gate, and the first usage error.
        shares: each check's share of the false-alarm budget, by node id.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.process = Process(config)
        self.computing = SessionExecutor(config, self.process)
        self.planning = SessionPlans(config, self.process, self.computing)
        self.shares: dict[str, float] = {}

    def execution_of(self, node: pytest.Item) -> Execution:
        """The execution of the plan that a test belongs to, for the attempt that the test makes at its runs."""
        planning = self.planning
        execution = self.computing.execution(planning.planner.current(planning.plan_of(node)))
        execution.attempt = attempt_of(node)
        return execution

    def arrange(self, items: list[pytest.Item]) -> None:
        """Add the gate's items, put analyses after runs, and split the false-alarm budget over the planned checks."""
        planning = self.planning
        with planning.keeping_errors():
            if options.given(self._config, "--entropy-compare") is not None and planning.first_error is None:
                from pytest_entropy.plugin.regression_item import gate_items

                items += gate_items(self, items)
        items.sort(key=lambda item: RUNS_FIXTURE in getattr(item, "fixturenames", ()))
        if planning.first_error is None:
            with planning.keeping_errors():
                self.shares = shares_of(items, lambda item: planning.plan_of(item).resolved.config.checks.alpha)


def session_of(config: pytest.Config) -> EntropySession:
    """The state of this process."""
    return config.stash[KEY]
