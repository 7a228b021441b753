"""A check that another package adds is found by its name, and listed apart from the built-in ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pytest_entropy import registry
from pytest_entropy.checks.base import Check, exact, numbers
from tests.unit.checks.registered import judged
from tests.unit.reports.stored import result

SHORT = Check(
    name="short_responses",
    claim="responses are short",
    likely_causes="a policy that rambles",
    needs=("length_mean",),
    judge=lambda check, runs, given: exact(check, numbers(runs, "length_mean"), noise_floor=20, unit="tokens"),
)


@pytest.fixture
def added() -> Iterator[None]:
    registry.add("checks", SHORT.name, SHORT)
    yield
    registry.forget("checks", SHORT.name)


def test_it_is_listed_apart_and_found(added: None) -> None:
    assert registry.added("checks") == (SHORT.name,)
    assert registry.names("checks")[-1] == SHORT.name
    assert registry.get("checks", SHORT.name, Check) is SHORT


def test_without_it_there_is_none() -> None:
    assert registry.added("checks") == ()
    assert registry.added("bookkeeping") == ()


def test_it_is_inconclusive_where_what_it_needs_is_missing() -> None:
    run = result(4, 1, np.arange(4.0))
    assert judged(SHORT, [run]).verdict == "pass"
    assert judged(SHORT, [result(4, 1, np.arange(4.0), length_mean=30.0)]).verdict == "fail"
    object.__setattr__(run, "length_mean", None)
    assert judged(SHORT, [run]).verdict == "inconclusive"
