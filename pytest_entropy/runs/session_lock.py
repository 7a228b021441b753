"""Which experiments a living session is working on: a lock held as long as the session lives, and a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_entropy.records.files import write_text
from pytest_entropy.records.paths import LOCKS, STAMPS


def occupy(root: Path, stamp: str, directories: Sequence[Path]) -> FileLock:
    """Hold the session's lock (released when the process ends, however it ends) and say what the session uses."""
    write_text(
        root / STAMPS / stamp, "".join(f"{directory.relative_to(root).as_posix()}\n" for directory in directories)
    )
    lock = FileLock(root / STAMPS / f"{stamp}.lock")
    lock.acquire()
    return lock


class Occupied:
    """What living sessions use at this moment, under one results directory."""

    def __init__(self, root: Path) -> None:
        self.stamps: set[str] = set()
        self.directories: set[Path] = set()
        for file in sorted((root / STAMPS).glob("*.lock")):
            if is_locked(file):
                stamp = file.name.removesuffix(".lock")
                self.stamps.add(stamp)
                names = (root / STAMPS / stamp).read_text(encoding="utf-8").splitlines()
                self.directories |= {root / name for name in names}

    def holds(self, directory: Path, stamp: str) -> bool:
        """Whether a living session began, resumed, or is computing in the experiment directory."""
        if stamp in self.stamps or directory in self.directories:
            return True
        return any(is_locked(file) for file in (directory / LOCKS).glob("*.lock"))


def is_locked(file: Path) -> bool:
    """Whether another process holds the lock."""
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True
