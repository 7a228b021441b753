"""Quantiles and intervals of means and weighted sums: their ends, symmetries, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from pytest_entropy.stats.intervals import (
    FEWEST_PROMPTS,
    PromptPool,
    interval_of_mean,
    mean_interval,
    too_few,
    two_sided_quantile,
)
from tests.present import present


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_quantile_is_students_or_the_normal_one() -> None:
    assert two_sided_quantile(0.9, 5) == pytest.approx(scipy.stats.t.ppf(0.95, 5))
    assert two_sided_quantile(0.9) == pytest.approx(scipy.stats.norm.ppf(0.95))
    with pytest.raises(ValueError, match="confidence"):
        two_sided_quantile(1.0, 5)


def test_without_skewness_it_is_students_t() -> None:
    low, high = present(mean_interval(3.0, 0.5, 0.0, 40, confidence=0.9))
    reach = scipy.stats.t.ppf(0.95, 39) * 0.5
    assert (low, high) == pytest.approx((3.0 - reach, 3.0 + reach))


def test_skewness_to_the_right_moves_the_interval_to_the_right() -> None:
    low, high = present(mean_interval(0.0, 1.0, 2.0, 64, confidence=0.95))
    t = scipy.stats.t.ppf(0.975, 63)
    assert high > t
    assert -t < low < 0
    assert mean_interval(0.0, 1.0, -2.0, 64, confidence=0.95) == pytest.approx((-high, -low))


def test_the_far_end_solves_halls_cubic() -> None:
    n, skew = 64, -1.5
    low = -present(mean_interval(0.0, 1.0, skew, n, confidence=0.95))[0]
    u = low / n**0.5
    assert n**0.5 * (u + skew * u**2 / 3 + skew**2 * u**3 / 27 + skew / (6 * n)) == pytest.approx(
        scipy.stats.t.ppf(0.975, n - 1)
    )


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1e200])
def test_the_unit_and_an_offset_do_not_matter(scale: float) -> None:
    x = rng(1).lognormal(0, 1, 50)
    plain, scaled = (present(interval_of_mean(v, confidence=0.95)) for v in (x, scale * x))
    assert np.array(scaled) / scale == pytest.approx(plain)
    moved = present(interval_of_mean(x + 5, confidence=0.95))
    assert np.array(moved) - 5 == pytest.approx(plain)


def test_equal_scalars_have_an_interval_of_no_width() -> None:
    assert interval_of_mean(np.full(40, 2.0), confidence=0.95) == (2.0, 2.0)
    assert PromptPool.of([np.full(40, 2.0)]) == PromptPool(0.0, 0.0, 40, 1)


def test_too_few_prompts_have_no_interval_and_a_reason() -> None:
    few = rng().normal(size=FEWEST_PROMPTS - 1)
    assert interval_of_mean(few, confidence=0.95) is None
    assert mean_interval(0.0, 1.0, 0.0, len(few), confidence=0.95) is None
    assert too_few(len(few)) == "no interval: 31 prompts are too few (it takes 32 to decide)"
    assert interval_of_mean(np.append(few, 0.0), confidence=0.95) is not None


def test_a_pool_has_the_spread_and_skewness_within_runs() -> None:
    runs = [rng(2).exponential(size=n) + 10 * n for n in (5000, 3000)]
    pool = PromptPool.of(runs)
    assert (pool.prompts, pool.runs) == (8000, 2)
    assert pool.sigma == pytest.approx(1.0, rel=0.1)
    assert pool.skew == pytest.approx(2.0, rel=0.25)
    tiny = PromptPool.of([rng(3 + n).exponential(size=4) for n in range(5000)])
    assert tiny.sigma == pytest.approx(1.0, rel=0.1)
    assert tiny.skew == pytest.approx(2.0, rel=0.25), "not too small on small runs"
    with pytest.raises(ValueError, match="at least 2 prompts"):
        PromptPool.of([np.ones(1), np.ones(1)])


def test_a_run_of_eight_prompts_has_an_interval_among_others() -> None:
    runs = [rng(n).normal(size=8) for n in range(6)]
    pool = PromptPool.of(runs)
    value = float(runs[0].mean())
    low, high = present(pool.sum_interval(value, np.ones(1), np.array([8.0]), confidence=0.95))
    reach = scipy.stats.t.ppf(0.975, 42) * pool.sigma / 8**0.5
    assert (low, high) == pytest.approx((value - reach, value + reach)), "a small share of its pool: Student's t"
    assert PromptPool.of(runs[:3]).sum_interval(value, np.ones(1), np.array([8.0]), confidence=0.95) is None


def test_the_sum_over_one_run_is_its_mean() -> None:
    x = rng(5).lognormal(0, 1, 60)
    pool = PromptPool.of([x])
    se = float(x.std(ddof=1)) / 60**0.5
    assert pool.standard_error(np.ones(1), np.array([60.0])) == pytest.approx(se)
    assert interval_of_mean(x, confidence=0.9) == pytest.approx(
        mean_interval(float(x.mean()), se, pool.skew, 60, confidence=0.9)
    )


def test_a_contrast_of_runs_keeps_students_t() -> None:
    runs = [rng(n).lognormal(0, 1, 40) for n in range(2)]
    pool, sizes, weights = PromptPool.of(runs), np.array([40.0, 40.0]), np.array([1.0, -1.0])
    low, high = present(pool.sum_interval(0.0, weights, sizes, confidence=0.95))
    reach = scipy.stats.t.ppf(0.975, 78) * pool.standard_error(weights, sizes)
    assert (low, high) == pytest.approx((-reach, reach))
