"""The experiments that running sessions use: each session holds a lock while it runs, and lists its directories."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_entropy.records.files import write_text
from pytest_entropy.records.paths import LOCKS, STAMPS


def lock_session(root: Path, stamp: str, directories: Sequence[Path]) -> FileLock:
    """List the session's experiment directories on disk, and acquire its lock, which the process's end releases.

    Args:
        root: the results directory.
        stamp: the session's time stamp.
        directories: the experiment directories it uses, below ``root``.
    """
    write_text(
        root / STAMPS / stamp, "".join(f"{directory.relative_to(root).as_posix()}\n" for directory in directories)
    )
    lock = FileLock(root / STAMPS / f"{stamp}.lock")
    lock.acquire()
    return lock


class RunningSessions:
    """The sessions that are running now in one results directory, and the experiment directories they use."""

    def __init__(self, root: Path) -> None:
        self.stamps: set[str] = set()
        self.directories: set[Path] = set()
        for file in sorted((root / STAMPS).glob("*.lock")):
            if is_locked(file):
                stamp = file.name.removesuffix(".lock")
                self.stamps.add(stamp)
                # A session that leaves nothing behind removes its list.
                with suppress(FileNotFoundError):
                    names = (root / STAMPS / stamp).read_text(encoding="utf-8").splitlines()
                    self.directories |= {root / name for name in names}

    def use(self, directory: Path, stamp: str) -> bool:
        """Whether a running session began or resumed the experiment, or computes a run of it.

        Args:
            directory: the experiment's.
            stamp: of the session that began it.
        """
        if stamp in self.stamps or directory in self.directories:
            return True
        return any(is_locked(file) for file in (directory / LOCKS).glob("*.lock"))


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock file."""
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True
