"""Runs computed in this process, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.runs.executors.base import Executor

if TYPE_CHECKING:
    from pytest_entropy.runs.compute import Place


class Local(Executor):
    """This process, alone on its machine."""

    def choose_device(self, device: str) -> None:
        """Nothing to choose: ``cuda`` is the first GPU, ``cuda:N`` names one."""

    def compute(self, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
        """Compute the run here."""
        from pytest_entropy.runs.compute import compute

        return compute(spec, place, directory)


EXECUTOR = Local
