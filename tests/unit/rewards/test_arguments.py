"""What a reward function looks up in its keyword arguments, read from its source."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from pytest_entropy.rewards.arguments import looked_up
from pytest_entropy.rewards.builtin.base import PlainReward


def subscript(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(a == b) for a, b in zip(completions, kwargs["solution"], strict=True)]


def asked_for(completions: list[str], **columns: Any) -> list[float]:
    golds = columns.get("ground_truth") or columns.get("target", [])
    return [float(a in golds) for a in completions]


def guarded(completions: list[str], **kwargs: Any) -> list[float]:
    if "solution" in kwargs:
        return [float(a == b) for a, b in zip(completions, kwargs["solution"], strict=True)]
    return [0.0 for _ in completions]


def tried(completions: list[str], **kwargs: Any) -> list[float]:
    try:
        golds = kwargs["solution"]
    except KeyError:
        golds = []
    return [float(a in golds) for a in completions]


def stored(completions: list[str], **kwargs: Any) -> list[float]:
    kwargs["cache"] = {}
    return [float(len(kwargs["cache"]))] * len(completions)


def handed_on(completions: list[str], **kwargs: Any) -> list[float]:
    return subscript(completions, **kwargs)


def inner(completions: list[str], **kwargs: Any) -> list[float]:
    def another(**kwargs: Any) -> Any:
        return kwargs["not_ours"]

    return [float(bool(another(not_ours=text))) for text in completions]


def popped(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(len(gold)) for gold in kwargs.pop("gold")]


async def awaited(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(gold) for gold in kwargs["gold"]]


class Callable:
    def __call__(self, completions: list[str], **kwargs: Any) -> list[float]:
        return [float(gold) for gold in kwargs["gold"]]


@functools.wraps(subscript)
def wrapped(*arguments: Any, **kwargs: Any) -> list[float]:
    return subscript(*arguments, **kwargs)


@pytest.mark.parametrize(
    ("function", "needed", "optional"),
    [
        (subscript, {"solution"}, set()),
        (asked_for, set(), {"ground_truth", "target"}),
        (guarded, set(), {"solution"}),
        (tried, set(), {"solution"}),
        (stored, set(), set()),
        (inner, set(), set()),
        (popped, {"gold"}, set()),
        (awaited, {"gold"}, set()),
        (Callable(), {"gold"}, set()),
        (functools.partial(subscript, weight=2), {"solution"}, set()),
        (wrapped, {"solution"}, set()),
        (len, set(), set()),
        (lambda completions, **kwargs: kwargs["gold"], set(), set()),
    ],
)
def test_what_a_function_looks_up(function: PlainReward, needed: set[str], optional: set[str]) -> None:
    found = looked_up(function)
    assert (set(found.needed), set(found.optional)) == (needed, optional)


def test_a_function_that_hands_its_columns_on_may_read_any() -> None:
    assert looked_up(handed_on).anything
    assert not looked_up(subscript).anything


def test_nothing_is_executed() -> None:
    def fails(completions: list[str], **kwargs: Any) -> list[float]:
        raise AssertionError(kwargs["gold"])

    assert looked_up(fails).needed == {"gold"}
