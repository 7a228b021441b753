"""Settings of a probe that can only be a mistake are refused where they are given."""

from __future__ import annotations

import pytest

from pytest_entropy.probe import ProbeConfig
from pytest_entropy.probe.estimators import estimator_names, get_estimator
from pytest_entropy.settings.diagnostics import MEASUREMENTS


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("definitions", "did you mean definition?"),
        ("scores", "did you mean score?"),
        ("xyzzy", "known are action_value"),
    ],
)
def test_a_diagnostic_that_there_is_not_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"diagnostics: '{name}' is not known") as refusal:
        ProbeConfig(diagnostics=("score", name))
    assert hint in str(refusal.value)


def test_every_diagnostic_that_there_is_is_taken() -> None:
    assert ProbeConfig(diagnostics=(*estimator_names(), *MEASUREMENTS)).diagnostics[-1] == MEASUREMENTS[-1]


def test_the_entropy_slope_needs_the_scores_that_set_its_step() -> None:
    with pytest.raises(ValueError, match="'entropy_slope' uses the step of 'score'"):
        ProbeConfig(diagnostics=("entropy_slope",))


def test_every_estimator_has_a_definition() -> None:
    for name in estimator_names():
        assert callable(get_estimator(name).definition)
