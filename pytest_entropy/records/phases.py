"""The phase that this process is working on, its planned tokens and those done, for whoever shows progress."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass
class Phase:
    """A phase of a run or of the update batch, such as its sampling.

    Attributes:
        name: such as ``derivatives``.
        tokens: response tokens of one pass, an upper bound while sampling; None where the phase processes none.
        passes: number of passes over them; None where it is not known before.
        work: the directory that the result will have; None outside of a store.
        done: response tokens processed so far, all passes together.
        started: when it began, in seconds of ``time.time``.
    """

    name: str
    tokens: int | None
    passes: int | None
    work: Path | None
    done: int = 0
    started: float = field(default_factory=time.time)

    @property
    def planned(self) -> str:
        """The planned size in words."""
        if self.tokens is None:
            return "no tokens to process"
        if self.passes is None:
            return f"passes over {self.tokens} tokens"
        return f"{self.tokens * self.passes} tokens"


class _State:
    """What the process works on: threads of a phase report to it, so that it is neither a thread's nor a context's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.phase: Phase | None = None
        self.work: Path | None = None


_state = _State()


@contextmanager
def entered(name: str, tokens: int | None = None, passes: int | None = 1) -> Iterator[None]:
    """Make the block a phase, and log its planned size before it starts; phases do not nest.

    Args:
        name: of the phase.
        tokens, passes: see :class:`Phase`.
    """
    phase = Phase(name, tokens, passes, _state.work)
    _state.phase = phase
    log.info("phase %s: %s", name, phase.planned)
    try:
        yield
    finally:
        _state.phase = None


@contextmanager
def working_on(directory: Path) -> Iterator[None]:
    """Make the block's phases those of one run, or of the update batch that a run needs first.

    Args:
        directory: that its result will have.
    """
    before, _state.work = _state.work, directory
    try:
        yield
    finally:
        _state.work = before


def report(tokens: int) -> None:
    """Count response tokens as processed by the present phase; without one nothing happens."""
    phase = _state.phase
    if phase is not None:
        with _state.lock:
            phase.done += tokens


def current() -> Phase | None:
    """The present phase, None between phases."""
    return _state.phase
