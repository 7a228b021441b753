"""Ranks of sampled tokens: what the check sees, how it plans, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from pytest_entropy import stats
from tests.check_words import CheckWords
from tests.present import present

PIT: CheckWords = {"name": "p", "null": "ranks are uniform", "unit": "sd", "likely_causes": "a sampler"}


def ranks(n: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(n)


@pytest.mark.parametrize("scale", [1e-200, 3.0, 1e200])
def test_only_ratios_of_weights_matter(scale: float) -> None:
    u, w = ranks(), ranks(seed=1)
    plain, scaled = (stats.check_uniform_pit(u, weights, alpha=0.01, **PIT) for weights in (w, scale * w))
    assert scaled.p_value == pytest.approx(plain.p_value)
    assert scaled.effect == pytest.approx(plain.effect)


def test_turning_the_ranks_around_turns_the_effect_around() -> None:
    u, w = ranks(), ranks(seed=1)
    one, other = (stats.check_uniform_pit(v, w, alpha=0.01, **PIT) for v in (u, 1 - u))
    assert other.effect == pytest.approx(-present(one.effect))
    assert other.p_value == pytest.approx(one.p_value)


def test_p_is_uniform_under_the_null() -> None:
    """Two-sided Kolmogorov-Smirnov over 4000 samples of few tokens: a false alarm in 1 of 10 000 runs."""
    rng = np.random.default_rng(7)
    w = rng.lognormal(size=12)
    p = [stats.check_uniform_pit(rng.random(12), w, alpha=0.5, **PIT).p_value for _ in range(4000)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-4


def test_tokens_without_weight_do_not_count() -> None:
    u, w = ranks(), ranks(seed=1)
    more = stats.check_uniform_pit(np.append(u, 0.999), np.append(w, 0.0), alpha=0.01, **PIT)
    assert more.p_value == stats.check_uniform_pit(u, w, alpha=0.01, **PIT).p_value
    assert stats.check_uniform_pit(u, 0 * w, alpha=0.01, **PIT).verdict == "inconclusive"


def test_ranks_at_the_very_end_are_finite_evidence() -> None:
    outcome = stats.check_uniform_pit([0.0, 1.0] * 4, np.ones(8), alpha=0.01, **PIT)
    assert outcome.verdict == "fail"
    assert np.isfinite(present(outcome.effect))


def test_assert_form_says_when_tokens_are_too_few() -> None:
    with pytest.raises(stats.Inconclusive, match="to decide: n = "):
        stats.assert_uniform_pit(ranks(20), np.ones(20), alpha=1e-3, effect_of_interest=0.01, **PIT)
    assert stats.assert_uniform_pit(ranks(), np.ones(500), alpha=1e-3, **PIT).verdict == "pass"


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, float("inf")], [float("nan"), 1.0]])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be finite and not negative"):
        stats.check_uniform_pit([0.2, 0.7], weights, alpha=0.1, **PIT)
    with pytest.raises(ValueError, match="weights must be finite and not negative"):
        stats.min_discrepancy_uniform_pit(weights, alpha=0.1)


def test_planning_refuses_no_effect_and_no_weight() -> None:
    with pytest.raises(ValueError, match="effect is 0"):
        stats.min_num_samples_uniform_pit([1.0], 0.0, alpha=0.1)
    with pytest.raises(ValueError, match="one of them positive"):
        stats.min_discrepancy_uniform_pit([0.0, 0.0], alpha=0.1)
