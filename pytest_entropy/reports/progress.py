"""Estimate the time a session or a phase still takes: what is left of it, at the pace of what is done."""

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
        # Sizes of the runs that are computed, and of those that are left.
        self._computed = self._left = 0
        self._start = self._last_line = clock()
        # Whether runs are taken until the error of their mean reaches a target: some may not be needed.
        self._to_target = False

    def expect(self, nodeids: Iterable[str]) -> None:
        """Add the runs among the tests that this process or a worker has collected."""
        for nodeid in nodeids:
            match = _RUN.search(nodeid)
            if match:
                self._left += int(match[1]) if nodeid not in self._sizes else 0
                self._sizes[nodeid] = int(match[1])
        if not self._done:
            self._start = self._last_line = self._clock()

    def note(self, report: ItemReport) -> str | None:
        """Count a finished run; a progress line if the last one is ten seconds old, else None."""
        if report.nodeid not in self._sizes or report.nodeid in self._done:
            return None
        self._done.add(report.nodeid)
        self._to_target |= bool(report.pilot)
        self._left -= self._sizes[report.nodeid]
        # A run that was not needed took no time.
        if not report.stored and (report.outcome != "skipped" or report.delta_h1 is not None):
            self._computed += self._sizes[report.nodeid]
        now = self._clock()
        if not self._left or not self._computed or now - self._last_line < EVERY:
            return None
        self._last_line = now
        how = "at most" if self._to_target else "about"
        seconds = (now - self._start) / self._computed * self._left
        return f"entropy: {len(self._done)} of {len(self._sizes)} runs, {how} {in_words(seconds)} left"


def in_words(seconds: float) -> str:
    """A duration rounded for people, in seconds, minutes or hours.

    >>> in_words(39.6), in_words(200), in_words(7500)
    ('40 s', '3 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def phase_in_words(phase: str, done: int, tokens: int | None, passes: int | None, seconds: float) -> str:
    """A phase with its tokens and, where the number of passes over them is known, the time that it still takes.

    Args:
        phase: its name.
        done: tokens processed so far, all passes together.
        tokens: of one pass; None where the phase processes none.
        passes: number of passes; None where it is not known before.
        seconds: since the phase began.

    >>> phase_in_words("derivatives", 1024, 4096, 1, 20.0)
    'derivatives: 1,024 of 4,096 tokens, about 60 s left'
    >>> phase_in_words("definition", 9000, 4096, None, 200.0)
    'definition: 9,000 tokens in passes over 4,096, 3 min so far'
    >>> phase_in_words("reward", 0, None, None, 31.0)
    'reward: 31 s so far'
    """
    so_far = f"{in_words(seconds)} so far"
    name = phase.replace("_", " ")
    if tokens is None:
        return f"{name}: {so_far}"
    if passes is None:
        size = f"{done:,} tokens in passes over {tokens:,}" if done else f"passes over {tokens:,} tokens"
        return f"{name}: {size}, {so_far}"
    # Pieces count their padding.
    whole = tokens * passes
    done = min(done, whole)
    left = f"about {in_words(seconds / done * (whole - done))} left" if done else so_far
    return f"{name}: {done:,} of {whole:,} tokens, {left}"
