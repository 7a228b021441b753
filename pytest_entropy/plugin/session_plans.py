"""Plan the session's experiments from markers and options, and reject errors before any work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.plugin import markers, options
from pytest_entropy.plugin.declared_experiments import declared_experiments
from pytest_entropy.plugin.process import Process
from pytest_entropy.plugin.session_executor import SessionExecutor

if TYPE_CHECKING:
    from filelock import FileLock

    from pytest_entropy.plugin.regression_gate import Gate
    from pytest_entropy.runs.plan import Plan
    from pytest_entropy.runs.planner import Planner, SessionRequest

# The key of ``workeroutput`` with a worker's usage error, found while collecting.
USAGE_ERROR = "entropy_usage_error"


class SessionPlans:
    """The plans of one pytest process, and the first usage error among them."""

    def __init__(self, config: pytest.Config, process: Process, computing: SessionExecutor) -> None:
        self._config, self._process, self._computing = config, process, computing
        self.first_error: UsageError | None = None
        self._lock: FileLock | None = None

    @cached_property
    def planner(self) -> Planner:
        """The planner, on a worker with the time stamp of its controller."""
        from pytest_entropy.records.results_directory import session_stamp
        from pytest_entropy.runs.planner import Planner

        return Planner(self._request(), self._process.stamp or session_stamp())

    @property
    def plans(self) -> list[Plan]:
        """The plans made so far."""
        return self.planner.plans if "planner" in self.__dict__ else []

    def _request(self) -> SessionRequest:
        """The command line as a request to the planner; hooks may supply rewards and prompts."""
        from pytest_entropy.runs.planner import SessionRequest

        config = self._config
        named = options.given(config, "--entropy-results")
        return SessionRequest(
            root=_project(config),
            results=Path(named).expanduser() if named else None,
            resume=bool(options.given(config, "--resume")),
            config_file=options.given(config, "--config"),
            layers=lambda kind: options.option_layers(config, kind),
            find_reward=lambda name: config.hook.pytest_entropy_reward(name=name),
            find_prompts=lambda source: config.hook.pytest_entropy_prompts(source=source),
            choose_device=self._computing.executor.choose_device,
        )

    @cached_property
    def gate(self) -> Gate:
        """The session's regression gate.

        Raises:
            UsageError: a tolerance cannot be parsed, or an option of the gate is given without a baseline.
        """
        from pytest_entropy.plugin.regression_gate import Gate

        return Gate(self._config, self.planner.results_root)

    def plan_of(self, node: Any) -> Plan:
        """The plan of a test item or function definition: by its marker, else by its module's name.

        Raises:
            UsageError: the name is not an identifier, or the experiment cannot be planned.
        """
        marker = node.get_closest_marker(markers.EXPERIMENT)
        module = node.path
        name = marker.args[0] if marker and marker.args else module.stem.removeprefix("test_")
        if not isinstance(name, str) or not name.isidentifier():
            raise UsageError(f"{module}: experiment name {name!r} must be an identifier such as my_experiment")
        return self.planner.plan(name, module, marker.kwargs if marker else None)

    def parametrization(self, definition: Any) -> tuple[list[tuple[int, int]], list[str]]:
        """(B_E, run) pairs and item ids for ``probe_run``; empty lists if the experiment cannot be planned."""
        with self.keeping_errors():
            plan = self.plan_of(definition)
            return plan.runs, plan.ids
        return [], []

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep the block's usage error, if it is the first, until collection ends: then pytest exits with code 4."""
        try:
            yield
        except UsageError as error:
            self.first_error = self.first_error or error

    def look_ahead(self) -> None:
        """On the controller, which collects no tests: plan the experiments that test modules declare.

        Raises:
            UsageError: options, configuration, checkpoint or prompts of an experiment cannot be used.
        """
        for name, module, keywords in declared_experiments(self._config):
            self.planner.plan(name, module, keywords)
        self.settle()

    def settle_on_worker(self, items: list[pytest.Item]) -> None:
        """Call :meth:`settle` on an xdist worker: send an error to the controller, and run no test."""
        try:
            self.settle()
        except UsageError as error:
            self._config.workeroutput[USAGE_ERROR] = str(error)  # type: ignore[attr-defined]
            items.clear()

    def settle(self) -> None:
        """Make the last checks of the complete plans, then reserve the time stamp, the first write to disk.

        Raises:
            UsageError: an experiment could not be planned, an option has no effect, TensorBoard is missing or its
                directory cannot be written, the baseline is missing or of another checkpoint or objective, or results
                cannot be written.
        """
        if self.first_error is not None:
            raise self.first_error
        if not self.plans:
            return
        to_target = [plan.kind for plan in self.plans if plan.resolved.config.batch_config.target_se is not None]
        options.refuse_idle_sizes(self._config, [plan.kind for plan in self.plans], to_target)
        events = options.given(self._config, "--entropy-tensorboard")
        if events:
            from pytest_entropy.plugin.tensorboard import require_tensorboard

            require_tensorboard(Path(events).expanduser())
        self.gate.require_baseline(self.plans)
        for plan in self.plans:
            self.gate.refuse_another(plan)
        if not (self._process.is_worker or self._process.collects_only):
            self.planner.claim()
            self._lock_session()

    def _lock_session(self) -> None:
        """Lock the session's directories against pruning while it runs."""
        from pytest_entropy.runs.session_lock import lock_session

        planner = self.planner
        self._lock = lock_session(planner.results_root, planner.stamp, [plan.directory for plan in self.plans])

    def close(self) -> None:
        """Release the session's lock at its end, so that its directories may be pruned."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            self.planner.withdraw()


def _project(config: pytest.Config) -> Path:
    """The project's directory: pytest's root directory, or without a configuration file the working directory.

    Without such a file pytest takes what the paths on the command line have in common, that of --checkpoint included.
    """
    return config.invocation_params.dir if config.inipath is None else config.rootpath
