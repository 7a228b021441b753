"""What an executor is: it takes runs as data and sees to it that they are computed somewhere."""

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
    """The executor of that name; the arguments are those of :class:`Executor`.

    Raises:
        UsageError: no executor has this name, or its module holds something else.
    """
    kind = registry.get("executors", name, type)
    if not issubclass(kind, Executor):
        raise UsageError(f"executor {name!r} is {kind.__name__}, expected a class derived from {__name__}.Executor")
    return kind(worker, workers)


class Executor(ABC):
    """Who computes the runs of one process of a session.

    Args:
        worker: name of the process among several, such as ``gw0``; None where it is alone.
        workers: how many processes share this machine.
    """

    def __init__(self, worker: str | None = None, workers: int = 1) -> None:
        self.worker, self.workers = worker, workers

    @abstractmethod
    def choose_device(self, device: str) -> None:
        """Leave this process the accelerator it is to compute on; called before anything has started it.

        Args:
            device: as configured: ``cpu``, ``cuda`` or ``cuda:N``.
        """

    @abstractmethod
    def compute(self, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
        """Have one run computed, with its files in ``directory``, and wait for it.

        Raises:
            RunError: the run failed.
        """

    def threads(self, asked: int | None) -> int:
        """CPU threads of this process: as asked, else its share of the machine."""
        return threads_for(asked, self.workers)
