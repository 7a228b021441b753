"""Paired differences, equivalence within a margin, and uniformity of p-values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from pytest_entropy import stats
from pytest_entropy.stats.uniform import Side
from tests.check_words import CheckWords
from tests.present import present

GATE: CheckWords = {
    "name": "gate",
    "null": "nothing drifted",
    "unit": "nats",
    "likely_causes": "a change of the estimator",
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    generator = rng(2)
    x = generator.lognormal(0, 1, 400)
    return x, x + 0.05 * generator.standard_t(4, 400)


def test_pairing_sees_what_unpaired_samples_cannot(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    assert stats.assert_mean_difference(x, y, alpha=1e-3, **GATE).verdict == "pass"
    with pytest.raises(stats.StatisticalFailure, match=r"gate: fail(.|\n)*points to: a change of the estimator"):
        stats.assert_mean_difference(x, y + 0.03, alpha=1e-3, **GATE)
    shuffled = stats.check_mean_difference(x, rng().permutation(y + 0.03), alpha=1e-3, **GATE)
    assert shuffled.verdict == "pass"


def test_identical_samples_are_equal_and_equivalent(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, _ = pair
    assert stats.check_mean_difference(x, x, alpha=1e-3, **GATE).p_value == 1.0
    assert stats.check_mean_difference(x, x, alpha=1e-3, **GATE).verdict == "pass"
    assert stats.check_equivalent(x, x, margin=1e-9, alpha=1e-3, **GATE).verdict == "pass"
    assert stats.check_equivalent(x, x + 1.0, margin=0.5, alpha=1e-3, **GATE).verdict == "fail"


def test_swapping_the_samples_turns_the_effect_around(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    one, other = (stats.check_mean_difference(*xy, alpha=1e-3, **GATE) for xy in ((x, y), (y, x)))
    assert other.effect == pytest.approx(-present(one.effect))
    assert other.p_value == pytest.approx(one.p_value)


def test_equivalence_has_three_verdicts(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair

    def verdict(shift: float, margin: float = 0.02) -> str:
        return stats.check_equivalent(x, y + shift, margin=margin, alpha=1e-3, **GATE).verdict

    assert verdict(0.0) == "pass"
    assert verdict(0.02) == "inconclusive"
    assert verdict(0.06) == verdict(-0.06) == "fail"
    assert verdict(0.06, margin=0.2) == "pass"


def test_equivalence_says_how_many_pairs_would_do(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    outcome = stats.check_equivalent(x[:30], y[:30], margin=0.01, alpha=1e-3, **GATE)
    assert outcome.verdict == "inconclusive"
    assert present(outcome.samples_needed) > 30
    with pytest.raises(stats.Inconclusive, match="to decide: n = "):
        stats.assert_equivalent(x[:30], y[:30], margin=0.01, alpha=1e-3, **GATE)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_equivalence_does_not_care_for_units(pair: tuple[np.ndarray, np.ndarray], scale: float) -> None:
    x, y = pair
    for shift in (0.0, 0.02, 0.05):
        plain = stats.check_equivalent(x, y + shift, margin=0.02, alpha=1e-3, **GATE)
        scaled = stats.check_equivalent(scale * x, scale * (y + shift), margin=scale * 0.02, alpha=1e-3, **GATE)
        assert scaled.verdict == plain.verdict
        assert scaled.p_value == pytest.approx(plain.p_value, rel=1e-3)


def test_a_drift_is_more_evident_the_larger_it_is(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    outcomes = [stats.check_equivalent(x, y + d, margin=0.01, alpha=1e-3, **GATE) for d in np.linspace(0, 0.08, 9)]
    p = [present(outcome.p_value) for outcome in outcomes]
    assert (np.diff(p) <= 0).all()
    assert p[0] == 1.0 > p[-1]


def test_gates_refuse_what_they_cannot_judge(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    with pytest.raises(ValueError, match="400 observations against 3; they must be paired by seed"):
        stats.check_mean_difference(x, y[:3], alpha=0.1, **GATE)
    with pytest.raises(ValueError, match="1 of 800 observations are not finite"):
        stats.check_equivalent(x, np.where(np.arange(400) == 7, np.nan, y), margin=1.0, alpha=0.1, **GATE)
    with pytest.raises(ValueError, match="margin is 0"):
        stats.check_equivalent(x, y, margin=0.0, alpha=0.1, **GATE)
    with pytest.raises(ValueError, match="1 pairs"):
        stats.check_equivalent([1.0], [2.0], margin=1.0, alpha=0.1, **GATE)


# ---------------------------------------------------------------------- p-values


@pytest.mark.parametrize("side", ["too_small", "both"])
def test_uniformity_is_scipys_exact_test(side: Side) -> None:
    p = rng().random(80)
    alternative = {"too_small": "greater", "both": "two-sided"}[side]
    reference = scipy_stats.kstest(p, "uniform", alternative=alternative, method="exact")
    outcome = stats.check_uniform_p_values(p, alpha=1e-3, side=side)
    assert outcome.statistic == pytest.approx(reference.statistic)
    assert outcome.p_value == pytest.approx(reference.pvalue)


def test_uniformity_sees_tests_that_reject_too_often() -> None:
    p = rng().random(200)
    assert stats.assert_uniform_p_values(p, alpha=1e-3).verdict == "pass"
    with pytest.raises(stats.StatisticalFailure, match="a test that rejects too often"):
        stats.assert_uniform_p_values(p**2, alpha=1e-3)


def test_conservative_p_values_are_fine_unless_both_sides_are_asked_for() -> None:
    p = rng().random(200) ** 0.4
    assert stats.check_uniform_p_values(p, alpha=1e-3).verdict == "pass"
    assert stats.check_uniform_p_values(p, alpha=1e-3, side="both").verdict == "fail"


def test_a_grid_of_p_values_needs_its_step() -> None:
    p = (1 + rng().integers(0, 5, 2000)) / 5  # two-sided p-values of 9 shuffles
    assert stats.check_uniform_p_values(p, alpha=1e-3, side="both").verdict == "fail"
    assert stats.check_uniform_p_values(p, alpha=1e-3, side="both", resolution=0.2).verdict == "pass"


def test_uniformity_at_odd_input() -> None:
    assert stats.check_uniform_p_values([], alpha=0.1).verdict == "inconclusive"
    assert stats.check_uniform_p_values([0.5], alpha=0.1).verdict == "pass"
    assert stats.check_uniform_p_values([0.0] * 50, alpha=1e-3).verdict == "fail"
    assert stats.check_uniform_p_values(rng().random(20), alpha=1e-3, effect_of_interest=0.1).verdict == "inconclusive"
    for bad, message in (([1.5], r"must lie in \[0, 1\]"), ([float("nan")], r"must lie in \[0, 1\]")):
        with pytest.raises(ValueError, match=message):
            stats.check_uniform_p_values(bad, alpha=0.1)
    with pytest.raises(ValueError, match="the resolution is -1"):
        stats.check_uniform_p_values([0.5], alpha=0.1, resolution=-1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.min_num_samples_uniform_p_values(0.0, alpha=0.1)
