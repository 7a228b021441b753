"""A time limit on a function call, wherever Python code can be interrupted.

Called on the main thread, the function runs on the main thread, as reward functions expect, and a signal interrupts
it.  The signal is SIGVTALRM, because pytest-timeout and math-verify use SIGALRM.  Two sources send it: a timer of the
process's CPU time, which needs no interpreter and so interrupts a regular expression that backtracks for ever, and a
watchdog thread, which interrupts a sleep or a socket.  Called on any other thread, the function runs in a daemon
thread, which is abandoned when the time is up.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")
_AGAIN = 0.5  # s between signals once the time is up: the function may have caught the first


class TimeLimitExceeded(BaseException):
    """The time limit has passed.

    A BaseException, so that ``except Exception`` in the function does not catch it.
    """


def call_within(seconds: float, function: Callable[[], T]) -> T:
    """Return ``function()``, or raise once it has run for ``seconds``.

    Args:
        seconds: the time limit, in seconds of wall time.
        function: called without arguments.

    Raises:
        TimeLimitExceeded: the function has not returned in time; on the main thread the traceback shows the line that
            was interrupted.
        BaseException: whatever the function raises.
    """
    on_main = threading.current_thread() is threading.main_thread()
    if on_main and hasattr(signal, "setitimer"):
        with _Alarm(seconds):
            return function()
    return _in_thread(seconds, function)


class _Alarm:
    """A context that raises TimeLimitExceeded in the main thread once the time is up; contexts may be nested."""

    def __init__(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._seconds = seconds
        self._exited = threading.Event()
        self._sending = threading.Lock()

    def __enter__(self) -> None:
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._ignore_time_limit
        self._previous_handler = signal.signal(signal.SIGVTALRM, self._handle)
        self._previous_timer = signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds, _AGAIN)
        threading.Thread(target=self._watch, name="time limit", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._exited.set()
        with self._sending:  # no signal is on its way when the handler is removed
            signal.setitimer(signal.ITIMER_VIRTUAL, *self._previous_timer)
        signal.signal(signal.SIGVTALRM, self._previous_handler)
        sys.unraisablehook = self._unraisable

    def _ignore_time_limit(self, unraisable: Any) -> None:
        """Ignore a TimeLimitExceeded raised in a destructor, which cannot propagate: the next signal is sent anyway."""
        if not (isinstance(unraisable.exc_type, type) and issubclass(unraisable.exc_type, TimeLimitExceeded)):
            self._unraisable(unraisable)

    def _handle(self, number: int, frame: Any) -> None:
        if self._exited.is_set():
            return
        if monotonic() >= self._deadline:
            raise TimeLimitExceeded
        if callable(self._previous_handler):
            self._previous_handler(number, frame)

    def _watch(self) -> None:
        while not self._exited.wait(max(self._deadline - monotonic(), 0) + _AGAIN / 10):
            with self._sending:
                if not self._exited.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGVTALRM)
            if self._exited.wait(_AGAIN):
                return


def _in_thread(seconds: float, function: Callable[[], T]) -> T:
    outcome: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="time-limited call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeLimitExceeded
    if failure:
        raise failure[0]
    return outcome[0]
