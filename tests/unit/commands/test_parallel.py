"""Work spread over processes gives what it gives in one, in order, errors in their places."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_entropy.commands.parallel import each

PLACES = [Path(str(n)) for n in range(9)]


def work(place: Path) -> tuple[int, int]:
    if place.name == "3":
        raise LookupError(f"nothing in {place}")
    return int(place.name) ** 2, os.getpid()


@pytest.mark.parametrize("cores", [1, 3])
def test_each_place_in_order_with_its_result_or_error(cores: int) -> None:
    found = list(each(work, PLACES, expected=LookupError, cores=cores))
    assert [place for place, _ in found] == PLACES
    assert [r if isinstance(r, LookupError) else r[0] for _, r in found[:3]] == [0, 1, 4]
    assert str(found[3][1]) == "nothing in 3"
    processes = {r[1] for _, r in found if not isinstance(r, LookupError)}
    assert (processes == {os.getpid()}) == (cores == 1)


def test_another_error_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        list(each(lambda place: 1 / 0, PLACES[:1], expected=LookupError))


def test_nothing_to_do_is_nothing() -> None:
    assert list(each(work, [], expected=LookupError)) == []
