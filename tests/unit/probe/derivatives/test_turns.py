"""Passes run beside each other, a change runs alone, and a change that waits is not kept waiting by later passes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from torch import nn

from pytest_entropy.probe.derivatives.turns import Turns, turns_of

LONG = 10.0


def test_passes_run_at_the_same_time() -> None:
    turns, both = Turns(), threading.Barrier(2)

    def meet() -> int:
        with turns.one_pass():
            return both.wait(LONG)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(future.result() for future in [pool.submit(meet), pool.submit(meet)]) == [0, 1]


def test_nothing_runs_beside_a_change() -> None:
    turns = Turns()
    inside: list[str] = []
    wrong: list[list[str]] = []

    def enter(kind: str) -> None:
        with turns.change() if kind == "change" else turns.one_pass():
            inside.append(kind)
            if "change" in inside and len(inside) > 1:
                wrong.append(list(inside))
            threading.Event().wait(0.001)
            inside.remove(kind)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(enter, ["pass", "change", "pass", "pass", "change", "pass"] * 15))
    assert not wrong


def test_a_waiting_change_goes_before_later_passes() -> None:
    turns = Turns()
    order: list[str] = []
    first, waits = threading.Event(), threading.Event()

    def earlier() -> None:
        with turns.one_pass():
            first.set()
            assert waits.wait(LONG)
            order.append("earlier pass")

    def change() -> None:
        with turns.change():
            order.append("change")

    def later() -> None:
        with turns.one_pass():
            order.append("later pass")

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(earlier)]
        assert first.wait(LONG)
        futures.append(pool.submit(change))
        while not turns._waiting:
            threading.Event().wait(0.001)
        futures.append(pool.submit(later))
        waits.set()
        for future in futures:
            future.result(LONG)
    assert order == ["earlier pass", "change", "later pass"]


def test_an_error_ends_a_turn_and_a_model_has_turns_of_its_own() -> None:
    model = nn.Linear(1, 1)
    turns = turns_of(model)
    for block in (turns.one_pass, turns.change):
        try:
            with block():
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        with turns.change():
            pass
    assert turns_of(model) is turns
    assert turns_of(nn.Linear(1, 1)) is not turns
