"""The executor ``local``: computes runs in this process, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.runs.executors.base import Executor

if TYPE_CHECKING:
    from pytest_entropy.runs.compute import Place


class Local(Executor):
    """Computes runs in this process, the only one on its machine."""

    def choose_device(self, device: str) -> None:
        """Do nothing: ``cuda`` is the first GPU, ``cuda:N`` names one."""

    def compute(self, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
        """Compute the run in this process."""
        from pytest_entropy.runs.compute import compute

        return compute(spec, place, directory)


EXECUTOR = Local
