"""Whether a reward setting names weights itself, in each form that it may be given."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy.settings.reward_terms import names_a_weight


@pytest.mark.parametrize(
    ("value", "weighted"),
    [
        ("a", False),
        ("a, b.py:f", False),
        ("a, b.py:f*0.2", True),
        (["a", "b"], False),
        (["a*2", "b"], True),
        ([{"name": "a"}], False),
        ([{"name": "a", "weight": 1.0}, "b"], True),
        (None, False),
        (7, False),
    ],
)
def test_names_a_weight(value: Any, weighted: bool) -> None:
    assert names_a_weight(value) is weighted
