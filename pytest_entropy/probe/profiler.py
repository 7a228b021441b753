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
# MiB by place; what the system's own count forgets when it is started anew.
_highest: dict[str, float] = {}


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
        _count_anew(self.device)
        started = time.perf_counter()
        try:
            yield
            # Not after an error, which a GPU in disorder would put another one in place of.
            self._wait()
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
            self.memory_mb[name] = max(self.memory_mb.get(name, 0.0), _counted(self.device))

    def _wait(self) -> None:
        if _is_gpu(self.device):
            torch.cuda.synchronize(self.device)


def peak_memory_mb(device: torch.device | None = None) -> float:
    """Most memory this process has held so far, in MiB: on ``device`` where that is a GPU, else resident."""
    return max(_highest.get(_place(device), 0.0), _counted(device))


def _counted(device: torch.device | None) -> float:
    if _is_gpu(device):
        return torch.cuda.max_memory_allocated(device) / 2**20
    if _STATUS.is_file():
        # ru_maxrss starts from the peak of the process this one was forked from.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if peak:
            return int(peak[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _count_anew(device: torch.device | None) -> None:
    _highest[_place(device)] = peak_memory_mb(device)
    if _is_gpu(device):
        torch.cuda.reset_peak_memory_stats(device)
        return
    # "5" sets the peak to what is held now (proc(5)); a sandbox may not allow it.
    with suppress(OSError):
        _RESET.write_text("5")


def _place(device: torch.device | None) -> str:
    """Whose memory is counted."""
    return str(device) if _is_gpu(device) else "process"


def _is_gpu(device: torch.device | None) -> bool:
    return device is not None and device.type == "cuda"
