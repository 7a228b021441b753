"""Most memory this process has held, by the system's own count, which may be started anew."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def highest_mb() -> float:
    """Most resident memory since the count began, in MiB."""
    if _STATUS.is_file():
        # ru_maxrss starts from the peak of the process this one was forked from.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if peak:
            return int(peak[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def count_anew() -> None:
    """Start the count at what is held now."""
    # "5" sets the peak to what is held now (proc(5)); a sandbox may not allow it.
    with suppress(OSError):
        _RESET.write_text("5")
