"""Runs computed in pytest-xdist's workers: each takes the items it is given, on a GPU and on cores of its own."""

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
    """One worker of several on this machine."""

    def choose_device(self, device: str) -> None:
        """Leave the worker one of the caller's GPUs, by its number."""
        assign_gpu(device, self.worker)

    def compute(self, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
        """Compute the run here; which worker has which run is xdist's business."""
        from pytest_entropy.runs.compute import compute

        return compute(spec, place, directory)


EXECUTOR = Xdist
