"""Let many passes of a model run at a time, but work that changes which parameters require a gradient run alone.

Whether a parameter requires a gradient is a property of the model, which all threads share: a pass that another thread
changes it under raises, or loses a part of its gradient.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn


class Turns:
    """Readers and one writer, in the words of concurrency: passes and a change.  Neither kind may nest."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._passes = 0
        self._waiting = 0
        self._changing = False

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """A block that other passes run beside, and no change does."""
        with self._condition:
            # A change that waits goes first, or passes of other threads could keep it waiting for ever.
            self._condition.wait_for(lambda: not self._changing and not self._waiting)
            self._passes += 1
        try:
            yield
        finally:
            with self._condition:
                self._passes -= 1
                self._condition.notify_all()

    @contextmanager
    def change(self) -> Iterator[None]:
        """A block that nothing runs beside."""
        with self._condition:
            self._waiting += 1
            self._condition.wait_for(lambda: not self._changing and not self._passes)
            self._waiting -= 1
            self._changing = True
        try:
            yield
        finally:
            with self._condition:
                self._changing = False
                self._condition.notify_all()


_TURNS: WeakKeyDictionary[nn.Module, Turns] = WeakKeyDictionary()
_LOCK = threading.Lock()


def turns_of(model: nn.Module) -> Turns:
    """The turns that all threads take on a model.

    Args:
        model: the policy's model.
    """
    with _LOCK:
        return _TURNS.setdefault(model, Turns())
