"""The executor ``local``: computes runs in this process, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.runs.executors.base import Executor
from pytest_entropy.runs.gpus import assign_gpu

if TYPE_CHECKING:
    from pytest_entropy.runs.compute import Place


class Local(Executor):
    """Computes runs in this process, the only one of its session."""

    def choose_device(self, device: str) -> None:
        """Restrict a process that torchrun or the like launched to the GPU of its rank; else ``cuda`` is the first."""
        assign_gpu(device, self.worker)

    def compute(self, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
        """Compute the run in this process."""
        from pytest_entropy.runs.compute import compute

        return compute(spec, place, directory)


EXECUTOR = Local
