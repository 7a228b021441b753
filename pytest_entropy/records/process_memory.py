"""The peak resident memory of this process as the operating system counts it, and a reset of that count."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def highest_mb() -> float:
    """Peak resident memory since the last reset, in MiB."""
    if _STATUS.is_file():
        # VmHWM and not ru_maxrss, which a forked process inherits from its parent.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if peak:
            return int(peak[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def count_anew() -> None:
    """Reset the peak to the memory that is resident now; does nothing where the system does not support it."""
    # "5" resets the peak (proc(5)); a sandbox may forbid it.
    with suppress(OSError):
        _RESET.write_text("5")
