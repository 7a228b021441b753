"""What phases of work cost: wall time, and the most memory the process held meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from pytest_entropy.probe.peak_memory import counted_mb, is_gpu, start_counting


@dataclass
class Meter:
    """Costs by phase, in the order of their first use.

    Attributes:
        seconds: wall time.  A GPU's work of a phase is waited for at its end, that of before at its start.
        memory_mb: most memory held within the phase, in MiB: of the process on ``device`` where that is a GPU, else
            its resident memory.  Where the system cannot start such a count anew: of the process up to the phase's end.
        device: what the work runs on; the CPU if None.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    device: torch.device | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's time to the phase and note its memory.  Phases do not nest."""
        self._wait()
        start_counting(self.device)
        started = time.perf_counter()
        try:
            yield
            # Not after an error, which a GPU in disorder would put another one in place of.
            self._wait()
        finally:
            took, held = time.perf_counter() - started, counted_mb(self.device)
            self.seconds[name] = self.seconds[name] + took if name in self.seconds else took
            self.memory_mb[name] = max(held, self.memory_mb[name]) if name in self.memory_mb else held

    def _wait(self) -> None:
        if is_gpu(self.device):
            torch.cuda.synchronize(self.device)
