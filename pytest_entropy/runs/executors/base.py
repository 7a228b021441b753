"""The base class of executors: an executor takes a run's spec and has it computed somewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.runs.machine import threads_for

if TYPE_CHECKING:
    from pytest_entropy.runs.compute import Place


def make_executor(name: str, worker: str | None = None, workers: int = 1) -> Executor:
    """Make the executor called ``name``.

    Args:
        name: registered name, such as ``local``.
        worker, workers: see :class:`Executor`.

    Raises:
        UsageError: no executor has this name, or the registered object is not an :class:`Executor` class.
    """
    kind = registry.get("executors", name, type)
    if not issubclass(kind, Executor):
        raise UsageError(f"executor {name!r} is {kind.__name__}, expected a class derived from {__name__}.Executor")
    return kind(worker, workers)


class Executor(ABC):
    """Computes the runs of one process of a session.

    Args:
        worker: name of this worker process, such as ``gw0``; None if it is the only process.
        workers: number of processes that share this machine.
    """

    def __init__(self, worker: str | None = None, workers: int = 1) -> None:
        self.worker, self.workers = worker, workers

    @abstractmethod
    def choose_device(self, device: str) -> None:
        """Restrict this process to the accelerator it computes on; called before anything has started CUDA.

        Args:
            device: as configured: ``cpu``, ``cuda`` or ``cuda:N``.
        """

    @abstractmethod
    def compute(self, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
        """Compute one run, or have it computed and wait for it, with its files in ``directory``.

        Args:
            spec: the run as plain data.
            place: checkpoint, prompts and rewards on this machine.
            directory: an empty directory, which must hold ``results.json`` afterwards.

        Raises:
            RunError: the run failed.
        """

    def threads(self, asked: int | None) -> int:
        """CPU threads of this process: the number ``asked`` for, else its share of the machine's cores."""
        return threads_for(asked, self.workers)
