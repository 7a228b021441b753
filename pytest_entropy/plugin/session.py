"""What one pytest process knows: its plans, its executions, and how the error budget is shared."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.plugin import options
from pytest_entropy.plugin.lookahead import EXPERIMENT_MARKER, RUNS_FIXTURE, declared_experiments

if TYPE_CHECKING:
    from filelock import FileLock

    from pytest_entropy.plugin.gate import Gate
    from pytest_entropy.runs.execution import Execution
    from pytest_entropy.runs.executors.base import Executor
    from pytest_entropy.runs.machine import Machine
    from pytest_entropy.runs.plan import Plan
    from pytest_entropy.runs.planner import Asked, Planner

KEY = pytest.StashKey["EntropySession"]()
CHECK_MARKER = "entropy_check"
TOLERANCE_MARKER = "entropy_tolerance"
EXPERIMENT_FIXTURE = "experiment"
# What a worker tells its controller of bad input that only collecting has shown.
USAGE_ERROR = "entropy_usage_error"


class EntropySession:
    """Per-process state, made at configure time and cheap until an experiment is seen."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker_input: Mapping[str, Any] | None = getattr(config, "workerinput", None)
        self.first_error: UsageError | None = None
        self.shares: dict[str, float] = {}
        self._executions: dict[str, Execution] = {}
        self._lock: FileLock | None = None

    @property
    def is_worker(self) -> bool:
        """Whether this process is an xdist worker."""
        return self.worker_input is not None

    @property
    def is_controller(self) -> bool:
        """Whether this process hands its tests to xdist workers."""
        return (
            not self.is_worker
            and self.config.getoption("dist", "no") != "no"
            and bool(self.config.getoption("tx", None))
        )

    @property
    def worker_id(self) -> str | None:
        """The xdist worker's name, such as gw0."""
        return self.worker_input["workerid"] if self.worker_input else None

    def choose_device(self) -> None:
        """Choose the worker's GPU if the command line asks for one; nothing has started CUDA yet."""
        if self.is_worker and options.given(self.config, "--device"):
            self.executor.choose_device(options.given(self.config, "--device"))

    @cached_property
    def executor(self) -> Executor:
        """Who computes this process's runs.

        Raises:
            UsageError: ``--entropy-executor`` names none.
        """
        from pytest_entropy.runs.executors.base import make_executor

        name = options.given(self.config, "--entropy-executor") or ("xdist" if self.is_worker else "local")
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) if self.is_worker else 1
        return make_executor(name, self.worker_id, workers)

    @property
    def collects_only(self) -> bool:
        """Whether nothing is going to be run."""
        return bool(self.config.getoption("collectonly", False))

    @cached_property
    def planner(self) -> Planner:
        """Makes plans; the time stamp is the controller's."""
        from pytest_entropy.records.directories import session_stamp
        from pytest_entropy.runs.planner import Planner

        stamp = self.worker_input["entropy_stamp"] if self.worker_input else session_stamp()
        return Planner(self._asked(), stamp)

    def _asked(self) -> Asked:
        """The command line as a planner takes it; rewards and prompts may come from hooks."""
        from pytest_entropy.runs.planner import Asked

        named = options.given(self.config, "--entropy-results")
        return Asked(
            root=self.config.rootpath,
            results=Path(named).expanduser() if named else None,
            resume=bool(options.given(self.config, "--resume")),
            config_file=options.given(self.config, "--config"),
            layers=lambda kind: options.option_layers(self.config, kind),
            find_reward=lambda name: self.config.hook.pytest_entropy_reward(name=name),
            find_prompts=lambda source: self.config.hook.pytest_entropy_prompts(source=source),
            choose_device=self.executor.choose_device,
        )

    @cached_property
    def gate(self) -> Gate:
        """What the session is compared with.

        Raises:
            UsageError: a rule that is none.
        """
        from pytest_entropy.plugin.gate import Gate

        return Gate(self.config, self.planner.results_root)

    # ------------------------------------------------------------------ planning

    def look_ahead(self) -> None:
        """On the controller, which collects nothing: plan what the test modules declare, refuse bad input.

        Raises:
            UsageError: whatever is wrong with options, configuration, checkpoint or prompts.
        """
        for name, module, keywords in declared_experiments(self.config):
            self.planner.plan(name, module, keywords)
        self.settle()

    def settle_on_worker(self, items: list[pytest.Item]) -> None:
        """:meth:`settle` on an xdist worker: an error is for the controller to say, and nothing is run."""
        try:
            self.settle()
        except UsageError as error:
            self.config.workeroutput[USAGE_ERROR] = str(error)  # type: ignore[attr-defined]
            items.clear()

    def settle(self) -> None:
        """All plans are made: last checks, then claim the time stamp (the first thing written to disk).

        Raises:
            UsageError: an option that applies to nothing, or results that cannot be written.
        """
        if self.first_error is not None:
            raise self.first_error
        if "planner" not in self.__dict__ or not self.planner.plans:
            return
        options.refuse_idle_sizes(self.config, [plan.kind for plan in self.planner.plans])
        if options.given(self.config, "--entropy-tensorboard"):
            from pytest_entropy.plugin.tensorboard import require_tensorboard

            require_tensorboard()
        for plan in self.planner.plans:
            self.gate.refuse_another(plan)
        if not (self.is_worker or self.collects_only):
            self.planner.claim()
            self._occupy()

    def _occupy(self) -> None:
        """Keep the session's directories from being pruned as long as it lives."""
        from pytest_entropy.runs.session_lock import occupy

        planner = self.planner
        self._lock = occupy(planner.results_root, planner.stamp, [plan.directory for plan in planner.plans])

    def close(self) -> None:
        """The session is over: others may prune what it used."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def plan_of(self, node: Any) -> Plan:
        """The plan of a test item or function definition: by its marker, else by its module's name."""
        marker = node.get_closest_marker(EXPERIMENT_MARKER)
        module = Path(str(node.path))
        name = marker.args[0] if marker and marker.args else module.stem.removeprefix("test_")
        if not isinstance(name, str) or not name.isidentifier():
            raise UsageError(f"{module}: experiment name {name!r} must be an identifier such as my_experiment")
        return self.planner.plan(name, module, marker.kwargs if marker else None)

    def parametrization(self, definition: Any) -> tuple[list[tuple[int, int]], list[str]]:
        """(B_E, run) pairs and ids for ``probe_run``; the first error is kept until collection has finished."""
        try:
            plan = self.plan_of(definition)
        except UsageError as error:
            self.first_error = self.first_error or error
            return [], []
        return plan.runs, plan.ids

    # ------------------------------------------------------------------ the error budget

    def arrange(self, items: list[pytest.Item]) -> None:
        """Analyses after runs, and the session's false-alarm budget split over the planned checks."""
        try:
            self._add_gates(items)
        except UsageError as error:
            self.first_error = self.first_error or error
        items.sort(key=lambda item: RUNS_FIXTURE in getattr(item, "fixturenames", ()))
        weights = {item.nodeid: _weight(item) for item in items if item.get_closest_marker(CHECK_MARKER)}
        if weights and self.first_error is None:
            from pytest_entropy.stats import split_budget

            self.shares = split_budget(self._alpha(items), weights)

    def _add_gates(self, items: list[pytest.Item]) -> None:
        if options.given(self.config, "--entropy-compare") and self.first_error is None:
            from pytest_entropy.plugin.gate_item import gate_items

            items += gate_items(self, self.gate, items)

    def _alpha(self, items: Sequence[pytest.Item]) -> float:
        """The strictest budget any experiment of the session asks for."""
        checked = [item for item in items if item.get_closest_marker(CHECK_MARKER)]
        try:
            return min(self.plan_of(item).resolved.config.checks.alpha for item in checked)
        except UsageError as error:
            self.first_error = error
            return 0.5

    # ------------------------------------------------------------------ running

    def execution(self, plan: Plan) -> Execution:
        """The execution of a plan in this process."""
        from pytest_entropy.runs.execution import Execution

        if plan.kind.name not in self._executions:
            current = self.planner.current(plan)
            self._executions[plan.kind.name] = Execution(current, self._machine, self.executor, self._log_level(plan))
        return self._executions[plan.kind.name]

    @cached_property
    def _machine(self) -> Machine:
        from pytest_entropy.runs.machine import Machine

        return Machine(self.executor.threads(options.given(self.config, "--entropy-threads")))

    def _log_level(self, plan: Plan) -> int:
        verbosity = self.config.get_verbosity()
        if options.given(self.config, "--minimal"):
            return logging.INFO
        if verbosity < 0:
            return logging.WARNING
        return logging.DEBUG if verbosity > 0 or plan.kind.name == "debug" else logging.INFO


def _weight(item: pytest.Item) -> float:
    marker = item.get_closest_marker(CHECK_MARKER)
    return float(marker.kwargs.get("weight", 1.0)) if marker else 0.0


def session_of(config: pytest.Config) -> EntropySession:
    """The process's session object."""
    return config.stash[KEY]
