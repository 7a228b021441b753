"""Estimate the time a session still takes: the runs that are left, at the pace of those done."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from pytest_entropy.records.item import ItemReport

# Seconds between two lines, and before the first, so that short sessions print none.
EVERY = 10.0
_RUN = re.compile(r"\[.*BE(\d+)-run\d+.*\]$")


class Progress:
    """Counts runs weighted by their size B_E, because a run's time is proportional to it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._done: set[str] = set()
        self._computed = 0
        self._start = self._last_line = clock()

    def expect(self, nodeids: Iterable[str]) -> None:
        """Add the runs among the tests that this process or a worker has collected."""
        for nodeid in nodeids:
            match = _RUN.search(nodeid)
            if match:
                self._sizes[nodeid] = int(match[1])
        if not self._done:
            self._start = self._last_line = self._clock()

    def note(self, report: ItemReport) -> str | None:
        """Count a finished run; a progress line if the last one is ten seconds old, else None."""
        if report.nodeid not in self._sizes or report.nodeid in self._done:
            return None
        self._done.add(report.nodeid)
        if not report.stored:
            self._computed += self._sizes[report.nodeid]
        now = self._clock()
        left = sum(size for name, size in self._sizes.items() if name not in self._done)
        if not left or not self._computed or now - self._last_line < EVERY:
            return None
        self._last_line = now
        seconds = (now - self._start) / self._computed * left
        return f"entropy: {len(self._done)} of {len(self._sizes)} runs, about {in_words(seconds)} left"


def in_words(seconds: float) -> str:
    """A duration rounded for people, in seconds, minutes or hours.

    >>> in_words(39.6), in_words(200), in_words(7500)
    ('40 s', '3 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
