"""The scaling fit of single batches: errors from the runs' own, and a p-value that noise of order 1/B does not fool."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_entropy import stats
from pytest_entropy.stats.own_updates import with_own_errors
from tests.present import present

SIZES = [4] * 4 + [16] * 4 + [64] * 4


def runs_of(spreads: list[float], shifts: list[float]) -> list[stats.RunScalars]:
    rng = np.random.default_rng(2)
    rows = zip(SIZES, spreads, shifts, strict=True)
    return [
        stats.RunScalars(size, r, shift + sd * rng.normal(size=size), 1.0) for r, (size, sd, shift) in enumerate(rows)
    ]


def test_errors_are_those_of_the_runs() -> None:
    runs = runs_of([1.0] * 12, [3.0] * 12)
    fit = stats.fit_scaling(runs, bootstrap=2, rng=np.random.default_rng(0), shuffles=199)
    own = with_own_errors(fit, runs)
    assert (own.a, own.b) == (fit.a, fit.b)
    # Of prompts that are exchangeable after all, both errors are of the same size.
    assert present(own.se_a) == pytest.approx(present(fit.se_a), rel=0.3)
    assert present(own.se_b) == pytest.approx(present(fit.se_b), rel=0.5)
    assert present(own.p_b) >= present(fit.p_b)


def test_noise_of_small_batches_is_not_taken_for_a_bias() -> None:
    # Single batches of 4 spread by far more than 1 / sqrt(B) of large ones.
    runs = runs_of([60.0] * 4 + [5.0] * 4 + [1.0] * 4, [40.0] * 4 + [0.0] * 8)
    fit = stats.fit_scaling(runs, bootstrap=2, rng=np.random.default_rng(0), shuffles=1999)
    own = with_own_errors(fit, runs)
    assert present(own.p_b) > 1e-4
    large = runs_of([1.0] * 12, [40.0] * 4 + [10.0] * 4 + [2.5] * 4)
    biased = stats.fit_scaling(large, bootstrap=2, rng=np.random.default_rng(0), shuffles=19_999)
    assert present(with_own_errors(biased, large).p_b) < 2e-3


def test_one_size_or_no_spread_is_left_as_it_is() -> None:
    alone = [stats.RunScalars(8, 0, np.arange(8.0), 1.0)]
    fit = stats.fit_scaling(alone, bootstrap=2, rng=np.random.default_rng(0))
    assert with_own_errors(fit, alone) == fit
    still = [stats.RunScalars(size, r, np.ones(size), 1.0) for r, size in enumerate(SIZES)]
    fit = stats.fit_scaling(still, bootstrap=2, rng=np.random.default_rng(0))
    assert with_own_errors(fit, still) == fit
