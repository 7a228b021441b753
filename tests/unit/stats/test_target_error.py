"""How many runs a target takes: by the pilot's prediction, then by the errors themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from pytest_entropy.stats import Measurement, pool
from pytest_entropy.stats.target_error import ErrorAfter, pilot_runs, planned_runs, runs_needed


def falling(se: float, *, fraction: float = 0.0, allowed: float = 1.0) -> Callable[[int], ErrorAfter]:
    """The error after so many runs of equal error ``se``."""
    return lambda runs: ErrorAfter(se * ((1 - fraction) / runs + fraction) ** 0.5, allowed, fraction)


@pytest.mark.parametrize(
    ("B_E", "step", "runs"), [(256, 1, 1), (1000, 1, 1), (128, 1, 2), (100, 1, 3), (256, 4, 4), (64, 3, 6), (2, 1, 128)]
)
def test_a_pilot_holds_at_least_256_prompts_along_whole_rounds_of_updates(B_E: int, step: int, runs: int) -> None:
    assert pilot_runs(B_E, step) == runs


@pytest.mark.parametrize(
    ("se", "most", "taken"),
    [(0.9, 16, 1), (1.0, 16, 1), (2.0, 16, 4), (2.001, 16, 5), (4.0, 16, 16), (5.0, 16, 16), (5.0, 1, 1)],
)
def test_as_many_runs_as_the_error_takes_and_never_more_than_the_most(se: float, most: int, taken: int) -> None:
    assert runs_needed(falling(se), 256, most=most) == taken


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("B_E", [32, 64, 128, 256])
@pytest.mark.parametrize("seed", range(20))
def test_runs_end_at_the_target_and_not_before_the_pilot(B_E: int, step: int, seed: int) -> None:
    errors = list(np.random.default_rng(seed).lognormal(0.5, 0.7, 24))
    asked: list[int] = []

    def after(runs: int) -> ErrorAfter:
        asked.append(runs)
        return ErrorAfter(errors[runs - 1], 1.0, 0.0)

    taken = runs_needed(after, B_E, step=step, most=24)
    pilot = pilot_runs(B_E, step)
    assert taken % step == 0
    assert pilot <= taken <= 24
    assert asked == sorted(set(asked))
    assert not asked or asked[0] == pilot
    assert all(runs <= taken for runs in asked)
    assert taken == 24 or errors[taken - 1] <= 1.0
    # A run before the end was taken because the target was not reached, or because the pilot predicted it.
    first = ErrorAfter(errors[pilot - 1], 1.0, 0.0)
    predicted = pilot if first.reached else planned_runs(first, pilot, step=step, most=24)
    assert all(errors[runs - 1] > 1.0 for runs in range(predicted, taken, step))
    # Allowing fewer runs changes no earlier decision: this is how each run decides by those before it.
    for most in range(step, 25, step):
        assert (runs_needed(after, B_E, step=step, most=most) >= most) == (taken >= most)


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.2])
def test_the_prediction_is_of_the_error_that_a_pooled_mean_has(fraction: float) -> None:
    runs = [Measurement(1.0, 1.0, 64, sampling_fraction=fraction) for _ in range(40)]
    for pilot in (1, 4):
        for wanted in (6, 17):
            first, last = pool(runs[:pilot]).se, pool(runs[:wanted]).se
            assert first is not None
            assert last is not None
            assert ErrorAfter(first, last, fraction).predicted(pilot) == pytest.approx(wanted)


def test_where_no_number_of_runs_would_do_all_are_taken() -> None:
    floor = falling(1.0, fraction=0.3, allowed=0.5)(1)
    assert math.isinf(floor.predicted(1))
    assert math.isinf(ErrorAfter(1.0, 0.0, 0.0).predicted(1))
    assert math.isinf(ErrorAfter(math.inf, 1.0, 0.0).predicted(1))
    assert runs_needed(falling(1.0, fraction=0.3, allowed=0.5), 256, most=16) == 16


def test_no_error_at_all_takes_no_more_runs() -> None:
    assert ErrorAfter(0.0, 0.0, 0.0).reached
    assert ErrorAfter(0.0, 0.0, 0.0).predicted(3) == 1.0
