"""How long a session still takes: runs done, and the rest at the pace so far."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from pytest_entropy.records.item import ItemReport

# Seconds between two lines, and before the first: short sessions are left in peace.
EVERY = 10.0
_RUN = re.compile(r"\[.*BE(\d+)-run\d+.*\]$")


class Progress:
    """Counts runs by their size B_E, since a run's time is in proportion to it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._done: set[str] = set()
        self._computed = 0
        self._start = self._said = clock()

    def expect(self, nodeids: Iterable[str]) -> None:
        """What has been collected, by this process or by a worker; those that are no runs do not count."""
        for nodeid in nodeids:
            found = _RUN.search(nodeid)
            if found:
                self._sizes[nodeid] = int(found[1])
        if not self._done:
            self._start = self._said = self._clock()

    def note(self, report: ItemReport) -> str | None:
        """A run has finished; returns a line now and then, None otherwise."""
        if report.nodeid not in self._sizes or report.nodeid in self._done:
            return None
        self._done.add(report.nodeid)
        if not report.stored:
            self._computed += self._sizes[report.nodeid]
        now = self._clock()
        rest = sum(size for name, size in self._sizes.items() if name not in self._done)
        if not rest or not self._computed or now - self._said < EVERY:
            return None
        self._said = now
        left = (now - self._start) / self._computed * rest
        return f"entropy: {len(self._done)} of {len(self._sizes)} runs, about {in_words(left)} left"


def in_words(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2 h 5 min``.

    >>> in_words(39.6), in_words(200), in_words(7500)
    ('40 s', '3 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
