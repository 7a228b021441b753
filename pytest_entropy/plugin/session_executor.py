"""The executor, the loaded machine and the executions (one per plan) that compute this process's runs."""

from __future__ import annotations

import logging
import os
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from pytest_entropy.plugin import options
from pytest_entropy.plugin.process import Process
from pytest_entropy.runs.gpus import LOCAL_RANK

if TYPE_CHECKING:
    from pytest_entropy.runs.execution import Execution
    from pytest_entropy.runs.executors.base import Executor
    from pytest_entropy.runs.machine import Machine
    from pytest_entropy.runs.plan import Plan
    from pytest_entropy.runs.progress_file import ProgressFile


class SessionExecutor:
    """The executor of this process and the executions of its plans, each made on first use."""

    def __init__(self, config: pytest.Config, process: Process) -> None:
        self._config, self._process = config, process
        self._executions: dict[str, Execution] = {}

    @cached_property
    def executor(self) -> Executor:
        """The executor that computes this process's runs.

        Raises:
            UsageError: ``--entropy-executor`` does not name an executor.
        """
        from pytest_entropy.runs.executors.base import make_executor

        worker = self._process.is_worker
        name = options.given(self._config, "--entropy-executor") or ("xdist" if worker else "local")
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) if worker else 1
        return make_executor(name, self._process.worker_id, workers)

    def choose_device(self) -> None:
        """Choose this process's GPU if ``--device`` is given; at configure time nothing has started CUDA yet.

        Only one of several processes on the machine has to choose: an xdist worker, or one that was launched by rank.
        """
        device = options.given(self._config, "--device")
        if device and (self._process.is_worker or LOCAL_RANK in os.environ):
            self.executor.choose_device(device)

    def execution(self, plan: Plan) -> Execution:
        """The execution of a plan in this process, made on the first call."""
        from pytest_entropy.runs.execution import Execution

        if plan.kind.name not in self._executions:
            self._progress.start()
            self._executions[plan.kind.name] = Execution(plan, self._machine, self.executor, self._log_level(plan))
        return self._executions[plan.kind.name]

    @cached_property
    def _progress(self) -> ProgressFile:
        from pytest_entropy.runs.progress_file import ProgressFile

        return ProgressFile(self._process.worker_id or "")

    def release_runs(self) -> None:
        """Drop the runs that were read, once the tests are done: reports read them without what only checks need."""
        self._executions.clear()

    def close(self) -> None:
        """Stop what runs beside the computation, at the end of the session."""
        if "_progress" in self.__dict__:
            self._progress.close()

    @cached_property
    def _machine(self) -> Machine:
        from pytest_entropy.runs.machine import Machine

        return Machine(self.executor.threads(options.given(self._config, "--entropy-threads")))

    def _log_level(self, plan: Plan) -> int:
        verbosity = self._config.get_verbosity()
        if options.given(self._config, "--minimal"):
            return logging.INFO
        if verbosity < 0:
            return logging.WARNING
        return logging.DEBUG if verbosity > 0 or plan.kind.name == "debug" else logging.INFO
