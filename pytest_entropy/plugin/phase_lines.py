"""Lines on the terminal while a long phase is computed, by this process or by xdist workers."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pytest_entropy.plugin.session import session_of
from pytest_entropy.reports.progress import EVERY, phase_in_words

if TYPE_CHECKING:
    import pytest

    from pytest_entropy.runs.progress_file import Working

# Seconds between two looks; and after which a phase gets its one line where the output is no terminal.
LOOK, LONG = 1.0, 30.0


class PhaseLines:
    """Prints what the processes of a session are working on, from a thread, while the block runs.

    Args:
        stream: the terminal; closed at the end.
        directories: of the session's experiments.
        live: whether to print the state every few seconds; else each long phase gets one line.
        every: seconds between two lines where ``live``.
        long: seconds after which a phase gets its one line where not.
    """

    def __init__(
        self,
        stream: TextIO,
        directories: Sequence[Path],
        *,
        live: bool,
        every: float = EVERY,
        long: float = LONG,
    ) -> None:
        self._stream, self._directories, self._live = stream, directories, live
        self._every, self._long = every, long
        self._last = time.monotonic()
        self._told: set[tuple[str, str, float]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_printing, name="entropy-phase-lines", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        from pytest_entropy.runs.progress_file import remove_stale

        self._stop.set()
        self._thread.join()
        remove_stale(self._directories)
        self._stream.close()

    def _keep_printing(self) -> None:
        from pytest_entropy.runs.progress_file import working

        while not self._stop.wait(LOOK):
            line = self.line(list(working(self._directories)))
            if line:
                # A closed pipe is no reason for a session to fail.
                with suppress(OSError, ValueError):
                    self._stream.write(f"\n{line}\n")
                    self._stream.flush()

    def line(self, found: Sequence[Working]) -> str:
        """The line to print now, empty if none is due.

        Args:
            found: what the processes are working on.
        """
        now = time.time()
        if self._live:
            due = list(found) if time.monotonic() - self._last >= self._every else []
        else:
            due = [one for one in found if now - one.started >= self._long and self._key(one) not in self._told]
        if not due:
            return ""
        self._last = time.monotonic()
        self._told.update(map(self._key, due))
        words = [
            " ".join(filter(None, (one.worker, one.work, phase_in_words(
                one.phase, one.done, one.tokens, one.passes, now - one.started
            ))))
            for one in due
        ]  # fmt: skip
        return f"entropy: {'; '.join(words)}"

    @staticmethod
    def _key(one: Working) -> tuple[str, str, float]:
        return one.worker, one.phase, one.started


def phase_lines(config: pytest.Config) -> PhaseLines | None:
    """The lines of a session; None with ``-q``, without a terminal reporter, or without experiments.

    To be made while pytest captures nothing: the stream is a copy of the real standard output.

    Args:
        config: of the process that owns the terminal.
    """
    terminal = config.pluginmanager.getplugin("terminalreporter")
    plans = session_of(config).planning.plans
    if terminal is None or not plans or config.get_verbosity() < 0:
        return None
    try:
        stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    except (OSError, ValueError, AttributeError):
        return None
    live = bool(terminal.isatty) or config.get_verbosity() > 0
    return PhaseLines(stream, [plan.directory for plan in plans], live=live)
