"""Measure the wall time and the peak memory of phases of work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from pytest_entropy.probe.peak_memory import counted_mb, is_gpu, start_counting
from pytest_entropy.records import phases


@dataclass
class Meter:
    """Wall time and peak memory by phase, in the order of their first use.

    Attributes:
        seconds: wall time by phase.  A GPU is synchronised at the start and at the end of a phase.
        memory_mb: peak memory within the phase in MiB: allocated on ``device`` where that is a GPU, else the process's
            resident memory.  Where the system cannot reset its peak counter, the peak since the process began.
        device: the device of the work; the CPU if None.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    device: torch.device | None = None

    @contextmanager
    def phase(self, name: str, tokens: int | None = None, passes: int | None = 1) -> Iterator[None]:
        """Add the block's wall time to the phase, and keep its peak memory.  Phases do not nest.

        Args:
            name: of the phase.
            tokens, passes: its planned size, as :class:`~pytest_entropy.records.phases.Phase` has it.
        """
        with phases.entered(name, tokens, passes), self._measured(name):
            yield

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        self._wait()
        start_counting(self.device)
        started = time.perf_counter()
        try:
            yield
            # Not after an error: synchronising a failed GPU would raise another one in its place.
            self._wait()
        finally:
            took, held = time.perf_counter() - started, counted_mb(self.device)
            self.seconds[name] = self.seconds[name] + took if name in self.seconds else took
            self.memory_mb[name] = max(held, self.memory_mb[name]) if name in self.memory_mb else held

    def _wait(self) -> None:
        if is_gpu(self.device):
            torch.cuda.synchronize(self.device)
