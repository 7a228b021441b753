"""What each process of a session is working on: a small file for the process that owns the terminal.

The file lies beside the experiment's locks, is no part of any result, and is removed when its phase or process ends.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_entropy.records import phases
from pytest_entropy.records.files import write_text
from pytest_entropy.records.paths import LOCKS
from pytest_entropy.records.phases import Phase

# Seconds between two writes, and before a phase's first, so that short phases write none.
EVERY = 2.0
# A file older than this, in seconds, is of a process that was killed.
STALE = 30.0
SUFFIX = ".progress"


@dataclass(frozen=True)
class Working:
    """What one process is working on.

    Attributes:
        worker: name of the xdist worker; empty for a session's only process.
        work: name of the directory of the run or update batch.
        phase: name of the phase.
        tokens, passes: its planned size, as :class:`~pytest_entropy.records.phases.Phase` has it.
        done: tokens processed so far.
        started: when the phase began, in seconds of ``time.time``.
    """

    worker: str
    work: str
    phase: str
    tokens: int | None
    passes: int | None
    done: int
    started: float


class ProgressFile:
    """Writes what this process works on into a file, from a thread of its own, between :meth:`start` and :meth:`close`.

    Args:
        worker: name of the xdist worker; empty for a session's only process.
        every: seconds between two writes.
    """

    def __init__(self, worker: str, every: float = EVERY) -> None:
        self._worker, self._every = worker, every
        self._written: Path | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, if it has not been started; it does not keep the process alive."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_writing, name="entropy-progress", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the thread, and remove the file."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_writing(self) -> None:
        while not self._stop.wait(self._every):
            phase = phases.current()
            long = phase is not None and phase.work is not None and time.time() - phase.started >= self._every
            # A full disk or a removed directory costs the progress line, not the run.
            with suppress(OSError):
                self._write(phase) if long and phase is not None else self._remove()
        with suppress(OSError):
            self._remove()

    def _write(self, phase: Phase) -> None:
        assert phase.work is not None
        file = phase.work.parent / LOCKS / f"{self._worker or 'session'}.{os.getpid()}{SUFFIX}"
        if file != self._written:
            self._remove()
        working = Working(
            self._worker, phase.work.name, phase.name, phase.tokens, phase.passes, phase.done, phase.started
        )
        write_text(file, json.dumps(asdict(working)))
        self._written = file

    def _remove(self) -> None:
        if self._written is not None:
            self._written.unlink(missing_ok=True)
            self._written = None


def working(directories: Iterable[Path]) -> Iterator[Working]:
    """What processes are working on in these experiments' directories, by their files, without those of dead ones."""
    for directory in directories:
        for file in sorted((directory / LOCKS).glob(f"*{SUFFIX}")):
            # The file may be gone by now, or another version's.
            with suppress(OSError, ValueError, TypeError):
                if time.time() - file.stat().st_mtime < STALE:
                    yield Working(**json.loads(file.read_bytes()))


def remove_stale(directories: Iterable[Path]) -> None:
    """Remove the files that killed processes left in these experiments' directories."""
    for directory in directories:
        for file in (directory / LOCKS).glob(f"*{SUFFIX}"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime >= STALE:
                    file.unlink(missing_ok=True)
