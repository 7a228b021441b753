"""A function that does not return is ended, whatever it does; one that does is left alone."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import threading
import time

import pytest

from pytest_entropy.time_limit import TimeLimitExceeded, call_within


def spin() -> None:
    while True:
        pass


def backtrack() -> None:
    re.fullmatch(r"(a+)+b", "a" * 64)


def sleep_and_catch() -> None:
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


class SlowToGo:
    """Time is up while it is destroyed, where no exception can be raised."""

    def __del__(self) -> None:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            pass


def destroy_and_spin() -> None:
    SlowToGo()
    spin()


ENDLESS = {
    "destructor": destroy_and_spin,
    "sleep": lambda: time.sleep(60),
    "spin": spin,
    "regular expression": backtrack,
    "await": lambda: asyncio.run(asyncio.sleep(60)),
    "catches exceptions": sleep_and_catch,
    "lock": lambda: threading.Event().wait(60),
}


@pytest.mark.parametrize("name", list(ENDLESS))
def test_ends_what_does_not_end(name: str) -> None:
    """And says nothing else: a warning would be an error here."""
    begun, hook = time.monotonic(), sys.unraisablehook
    with pytest.raises(TimeLimitExceeded):
        call_within(0.2, ENDLESS[name])
    assert time.monotonic() - begun < 10
    assert sys.unraisablehook is hook


def test_off_the_main_thread_as_well() -> None:
    outcome: list[object] = []

    def work() -> None:
        try:
            call_within(0.2, lambda: time.sleep(5))
        except TimeLimitExceeded as error:
            outcome.append(error)
        outcome.append(call_within(5, lambda: 3))
        try:
            call_within(5, lambda: 1 // 0)
        except ZeroDivisionError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert [type(item) for item in outcome] == [TimeLimitExceeded, int, ZeroDivisionError]


def test_the_inner_limit_of_two_ends_the_inner_call_only() -> None:
    def outer() -> str:
        with pytest.raises(TimeLimitExceeded):
            call_within(0.2, spin)
        return "went on"

    assert call_within(30, outer) == "went on"


def test_the_outer_limit_of_two_ends_both() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeLimitExceeded):
        call_within(0.3, lambda: call_within(60, lambda: time.sleep(60)))
    assert time.monotonic() - begun < 10


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reward time limit"]


def test_signal_handlers_timers_and_threads_are_as_before() -> None:
    alarm = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 50)
    before = signal.getsignal(signal.SIGVTALRM), signal.getitimer(signal.ITIMER_VIRTUAL)
    try:
        assert call_within(5, lambda: "value") == "value"
        with pytest.raises(ZeroDivisionError):
            call_within(5, lambda: 1 // 0)
        with pytest.raises(TimeLimitExceeded):
            call_within(0.1, lambda: time.sleep(60))
        deadline = time.monotonic() + 5
        while watchers() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not watchers()
        assert (signal.getsignal(signal.SIGVTALRM), signal.getitimer(signal.ITIMER_VIRTUAL)) == before
        # pytest-timeout's and math-verify's timer is not touched.
        assert signal.getsignal(signal.SIGALRM) == alarm
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_many_calls_that_end_in_time_are_never_interrupted() -> None:
    assert [call_within(0.5, lambda: sum(range(100))) for _ in range(300)] == [4950] * 300
