"""The largest discrepancy: not known where one is not, whatever its place."""

from __future__ import annotations

import math
from itertools import permutations

import pytest

from pytest_entropy.stats.largest import largest


def test_a_missing_number_is_never_outdone() -> None:
    for values in permutations([0.0, 3.0, math.nan, math.inf]):
        assert math.isnan(largest(values))


def test_the_largest_of_numbers_is_theirs() -> None:
    assert largest(iter([0.1, 3.0, 2.0])) == 3.0
    assert largest([-1.0]) == -1.0
    assert largest([1.0, math.inf]) == math.inf


def test_nothing_compared_is_no_agreement() -> None:
    with pytest.raises(ValueError, match="nothing was compared"):
        largest([])
