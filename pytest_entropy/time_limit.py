"""A bound on how long a function may take, wherever Python code can be interrupted.

On the main thread the function runs there, as reward functions expect, and a signal ends it.  Not SIGALRM, which
pytest-timeout and math-verify use: SIGVTALRM, sent by a timer of the process's own CPU time (which needs no
interpreter, so that it reaches a regular expression that backtracks for ever) and by a watching thread (which
reaches a sleep or a socket).  Elsewhere the function runs in a thread that is left behind.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")
_AGAIN = 0.5  # s between signals once time is up: code may have caught the first


class TimeLimitExceeded(BaseException):
    """Time is up.  No Exception, so that ``except Exception`` in the function does not catch it."""


def call_within(seconds: float, function: Callable[[], T]) -> T:
    """What ``function()`` returns, if it does within ``seconds``.

    Raises:
        TimeLimitExceeded: it did not; with the traceback of where it was (on the main thread).
        BaseException: whatever the function raised.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if on_main and hasattr(signal, "setitimer"):
        with _Alarm(seconds):
            return function()
    return _in_thread(seconds, function)


class _Alarm:
    """Raises TimeLimitExceeded in the main thread when time is up, until left.  May be nested."""

    def __init__(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._seconds = seconds
        self._left = threading.Event()
        self._sending = threading.Lock()

    def __enter__(self) -> None:
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._swallowed
        self._before = signal.signal(signal.SIGVTALRM, self._ring)
        self._timer = signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds, _AGAIN)
        threading.Thread(target=self._watch, name="time limit", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._left.set()
        with self._sending:  # no signal is on its way when the handler goes
            signal.setitimer(signal.ITIMER_VIRTUAL, *self._timer)
        signal.signal(signal.SIGVTALRM, self._before)
        sys.unraisablehook = self._unraisable

    def _swallowed(self, lost: Any) -> None:
        """A destructor or a weak reference's callback cannot raise; the next signal finds other code."""
        if not (isinstance(lost.exc_type, type) and issubclass(lost.exc_type, TimeLimitExceeded)):
            self._unraisable(lost)

    def _ring(self, number: int, frame: Any) -> None:
        if self._left.is_set():
            return
        if monotonic() >= self._deadline:
            raise TimeLimitExceeded
        if callable(self._before):
            self._before(number, frame)

    def _watch(self) -> None:
        while not self._left.wait(max(self._deadline - monotonic(), 0) + _AGAIN / 10):
            with self._sending:
                if not self._left.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGVTALRM)
            if self._left.wait(_AGAIN):
                return


def _in_thread(seconds: float, function: Callable[[], T]) -> T:
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="bounded in time", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeLimitExceeded
    if failure:
        raise failure[0]
    return outcome[0]
