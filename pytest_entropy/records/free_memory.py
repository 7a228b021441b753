"""How much more memory this process may take, by what the machine has, and by its container's and its own limits."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# A container without a limit says a number near 2^63.
NO_LIMIT = 2**60


def free_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Bytes that this process can still allocate; None where nothing tells.

    They are the least of what the machine has available, of what the process's control groups allow beyond what they
    hold, and of what its own limits (``ulimit``) leave.  Files' pages count as free, since they can be dropped, but not
    those that this process has mapped: weights are read from there in every pass.

    Args:
        proc, cgroups: the mounts of proc and of the control groups.
    """
    return min((*_machine(proc), *_groups(proc, cgroups), *_limits(proc)), default=None)


def resident_bytes(proc: Path = PROC) -> int | None:
    """Resident memory of this process now; None where the system does not tell."""
    return next(_status(proc, "VmRSS"), None)


def _machine(proc: Path) -> Iterator[int]:
    for available in _kilobytes(proc / "meminfo", "MemAvailable"):
        unused = next(_kilobytes(proc / "meminfo", "MemFree"), 0)
        yield max(unused, available - _mapped(proc))


def _mapped(proc: Path) -> int:
    """Bytes of files that this process has mapped and in memory."""
    return next(_status(proc, "RssFile"), 0)


def _limits(proc: Path) -> Iterator[int]:
    """Of the address space, and of private memory (Linux counts all private writable pages as data)."""
    for kind, held in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            for size in _status(proc, held):
                yield max(0, soft - size)


def _groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Of each memory control group this process is in, up to the root, versions 1 and 2."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = cgroups / "memory" if kinds else cgroups
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        # In a container the path is the host's, and its own group is mounted at the root.
        place = root / path.lstrip("/")
        for directory in (place, *place.parents):
            if root in (directory, *directory.parents):
                yield from _group(directory, *names, _mapped(proc))


def _group(directory: Path, limit: str, usage: str, mapped: int) -> Iterator[int]:
    try:
        most, held = ((directory / name).read_text().strip() for name in (limit, usage))
        statistics = (directory / "memory.stat").read_text()
    except OSError:
        return
    if most.isdigit() and held.isdigit() and int(most) < NO_LIMIT:
        droppable = sum(int(n) for n in re.findall(r"^(?:in)?active_file (\d+)$", statistics, re.MULTILINE))
        yield max(0, int(most) - max(0, int(held) - max(0, droppable - mapped)))


def _status(proc: Path, name: str) -> Iterator[int]:
    yield from _kilobytes(proc / "self" / "status", name)


def _kilobytes(file: Path, name: str) -> Iterator[int]:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)
    except OSError:
        return
    if found:
        yield int(found[1]) * 1024
