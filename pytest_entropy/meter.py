"""What phases of work cost: wall time, and the most memory the process held meanwhile."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# MiB; what the system's own count forgets when it is started anew.
_highest = 0.0


@dataclass
class Meter:
    """Costs by phase, in the order of their first use.

    Attributes:
        seconds: wall time.
        memory_mb: most memory held within the phase, in MiB: resident memory of the process, or the GPU's where one is
            in use.  Where the system cannot start such a count anew: of the process up to the phase's end.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's time to the phase and note its memory.  Phases do not nest."""
        _count_anew()
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
            self.memory_mb[name] = max(self.memory_mb.get(name, 0.0), _counted())


def peak_memory_mb() -> float:
    """Most memory this process has held so far, in MiB: resident, or the GPU's where one is in use."""
    return max(_highest, _counted())


def _counted() -> float:
    if _on_gpu():
        return torch.cuda.max_memory_allocated() / 2**20
    if _STATUS.is_file():
        # ru_maxrss starts from the peak of the process this one was forked from.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if peak:
            return int(peak[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _count_anew() -> None:
    global _highest
    _highest = peak_memory_mb()
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()
        return
    # "5" sets the peak to what is held now (proc(5)); a sandbox may not allow it.
    with suppress(OSError):
        _RESET.write_text("5")


def _on_gpu() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()
