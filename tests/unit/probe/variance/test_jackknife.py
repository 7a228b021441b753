"""The jackknife where its answer is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_entropy.probe.variance.jackknife import Jackknife, leave_one_out_means


def test_of_a_mean_it_is_the_mean_and_its_standard_error() -> None:
    x = np.random.default_rng(0).exponential(size=17)
    jackknife = Jackknife(x.mean(), leave_one_out_means(x))
    np.testing.assert_allclose(jackknife.pseudo_values, x)
    assert jackknife.bias == pytest.approx(0, abs=1e-15)
    assert jackknife.se == pytest.approx(x.std(ddof=1) / 17**0.5)


def test_of_the_plug_in_variance_the_correction_is_exact() -> None:
    x = np.random.default_rng(1).exponential(size=9)
    left_out = np.array([np.delete(x, i).var() for i in range(9)])
    assert Jackknife(x.var(), left_out).corrected == pytest.approx(x.var(ddof=1))


def test_leave_one_out_means_are_means_without_one() -> None:
    x = np.array([1.0, 2.0, 6.0])
    assert leave_one_out_means(x).tolist() == [4.0, 3.5, 1.5]


@pytest.mark.parametrize(
    ("full", "left_out", "message"), [(1.0, [1.0], "at least 2 units, got 1"), (1.0, [1.0, np.inf], "finite")]
)
def test_bad_input_is_refused(full: float, left_out: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Jackknife(full, np.array(left_out))
