"""The executor ``xdist``: computes runs in pytest-xdist's workers, each on its own GPU and its share of the cores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.runs.executors.base import Executor
from pytest_entropy.runs.gpus import assign_gpu

if TYPE_CHECKING:
    from pytest_entropy.runs.compute import Place


class Xdist(Executor):
    """Computes runs in one of several workers on this machine."""

    def choose_device(self, device: str) -> None:
        """Restrict the worker to one of the caller's GPUs, by the worker's number."""
        assign_gpu(device, self.worker)

    def compute(self, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
        """Compute the run in this worker; xdist distributes the runs."""
        from pytest_entropy.runs.compute import compute

        return compute(spec, place, directory)


EXECUTOR = Xdist
