"""Every statistical check at the truth, above it and below it, and its two design partners."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats as scipy_stats

from pytest_entropy import stats
from pytest_entropy.stats.convergence import ScalingVerdict
from pytest_entropy.stats.guarded_t import nominal, small_sample
from pytest_entropy.stats.outcome import CheckOutcome
from pytest_entropy.stats.scaling import RunScalars
from tests.check_words import CheckWords
from tests.present import present

MEAN: CheckWords = {"name": "m", "null": "the mean is 0", "unit": "nats", "likely_causes": "a bug"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def skewed(generator: np.random.Generator, size: int) -> np.ndarray:
    """Centred, skewed and heavy-tailed: kurtosis about 30, as per-prompt scalars have."""
    centred: np.ndarray = generator.lognormal(0, 0.75, size) - np.exp(0.75**2 / 2)
    return centred


def test_mean_zero_at_the_truth_and_beyond() -> None:
    x = skewed(rng(), 400)
    assert stats.check_mean_zero(x, alpha=1e-3, **MEAN).verdict == "pass"
    reach = stats.min_discrepancy_mean_zero(float(x.std(ddof=1)), 400, alpha=1e-3)
    with pytest.raises(stats.StatisticalFailure, match=r"expected: the mean is 0(.|\n)*points to: a bug"):
        stats.assert_mean_zero(x + 1.5 * reach, alpha=1e-3, **MEAN)
    assert stats.check_mean_zero(-x - 1.5 * reach, alpha=1e-3, **MEAN).verdict == "fail"


def test_mean_zero_says_when_it_could_not_have_seen_the_effect() -> None:
    x = rng().normal(size=10)
    with pytest.raises(stats.Inconclusive, match="to decide: n ="):
        stats.assert_mean_zero(x, alpha=1e-3, effect_of_interest=0.1, **MEAN)


def test_mean_zero_on_degenerate_input() -> None:
    assert stats.check_mean_zero([0.0] * 9, alpha=0.1, **MEAN).verdict == "inconclusive"
    assert stats.check_mean_zero([1.0], alpha=0.1, **MEAN).verdict == "inconclusive"
    assert stats.check_mean_zero([2.0] * 9, alpha=0.1, **MEAN).verdict == "fail"
    with pytest.raises(ValueError, match="1 of 2 observations are not finite"):
        stats.check_mean_zero([1.0, float("nan")], alpha=0.1, **MEAN)


@pytest.mark.parametrize("alpha", [0.05, 1e-4])
def test_design_partners_invert_each_other(alpha: float) -> None:
    for n in (20, 333, 5000):
        effect = stats.min_discrepancy_mean_zero(2.0, n, alpha=alpha)
        assert stats.min_num_samples_mean_zero(2.0, effect, alpha=alpha) == n
        weights = np.ones(n)
        shift = stats.min_discrepancy_uniform_pit(weights, alpha=alpha)
        assert stats.min_num_samples_uniform_pit(weights, shift, alpha=alpha) == n
    for runs in (5, 15, 60):
        ratio = stats.min_discrepancy_se_calibration(runs, alpha=alpha)
        assert stats.min_num_samples_se_calibration(ratio, alpha=alpha) == runs


PIT: CheckWords = {"name": "p", "null": "ranks are uniform", "unit": "sd", "likely_causes": "a sampler"}


def test_pit_sees_shift_and_spread_and_passes_uniform_ranks() -> None:
    u = rng().random(4000)
    w = rng(1).random(4000)
    assert stats.check_uniform_pit(u, w, alpha=1e-3, **PIT).verdict == "pass"
    z = scipy_stats.norm.ppf(u)
    assert stats.check_uniform_pit(scipy_stats.norm.cdf(z + 0.15), w, alpha=1e-3, **PIT).verdict == "fail"
    assert stats.check_uniform_pit(scipy_stats.norm.cdf(1.15 * z), w, alpha=1e-3, **PIT).verdict == "fail"
    with pytest.raises(ValueError, match="4000 ranks but 3 weights"):
        stats.check_uniform_pit(u, w[:3], alpha=1e-3, **PIT)
    with pytest.raises(ValueError, match=r"ranks must lie in \[0, 1\]"):
        stats.check_uniform_pit(u + 1, w, alpha=1e-3, **PIT)


def runs_of(
    generator: np.random.Generator, count: int = 15, size: int = 32, correlated: float = 0.0
) -> list[np.ndarray]:
    shared = generator.normal(size=(count, 1)) * correlated
    return [skewed(generator, size) + shift for shift in shared]


def calibration(per_prompt: list[np.ndarray], *, se_factor: float = 1.0, alpha: float = 1e-3) -> CheckOutcome:
    delta = [0.01 * s.mean() for s in per_prompt]
    se = [0.01 * se_factor * s.std(ddof=1) / len(s) ** 0.5 for s in per_prompt]
    return stats.check_se_calibration(per_prompt, delta, se, scale=0.01, alpha=alpha, rng=rng(7))


def test_calibration_passes_the_truth_and_sees_a_wrong_se() -> None:
    s = runs_of(rng())
    assert calibration(s).verdict == "pass"
    assert calibration(s, se_factor=1 / 3).verdict == "fail"
    assert calibration(s, se_factor=3.0).verdict == "fail"
    assert calibration(runs_of(rng(), correlated=1.0)).verdict == "fail"
    assert calibration(runs_of(rng(), count=2)).verdict == "inconclusive"


def scaling_runs(
    generator: np.random.Generator,
    value: float,
    *,
    sizes: tuple[int, ...] = (8, 32, 128),
    runs: int = 4,
    power: float = 0.0,
    sd: float = 0.5,
) -> list[RunScalars]:
    return [
        stats.RunScalars(b, r, value * (8 / b) ** power + sd * skewed(generator, b), 1.0)
        for b in sizes
        for r in range(runs)
    ]


def verdict(runs: list[RunScalars], alpha: float = 1e-4) -> ScalingVerdict:
    fit = stats.fit_scaling(runs, rng=rng(3), shuffles=30_000)
    return stats.scaling_verdict(fit, alpha=alpha)


def test_scaling_verdicts() -> None:
    assert verdict(scaling_runs(rng(), -0.4)).verdict == "converges"
    assert verdict(scaling_runs(rng(), -3.0, power=1.0)).verdict == "scales_as_1/B_E"
    assert verdict(scaling_runs(rng(), -3.0, power=0.4)).verdict == "finite_batch_bias"
    undecided = verdict(scaling_runs(rng(), 0.005))
    assert undecided.verdict == "inconclusive"
    assert present(undecided.runs_needed) > 0
    runs = 4 + present(undecided.runs_needed)
    assert f"; to decide: --runs {runs}, or a wider range of --be-values" in undecided.reason
    one_size = verdict(scaling_runs(rng(), 1.0, sizes=(16,)))
    assert one_size.verdict == "inconclusive"
    assert "give several --be-values" in one_size.reason


def test_scaling_recovers_a_and_b_without_bias() -> None:
    fits = [
        stats.fit_scaling(scaling_runs(rng(seed), 0.3), bootstrap=50, rng=rng(seed), shuffles=99) for seed in range(400)
    ]
    for name, truth in (("a", 0.3), ("b", 0.0)):
        z = np.array([(getattr(f, name) - truth) / getattr(f, f"se_{name}") for f in fits])
        assert abs(z.mean()) < 4 / 400**0.5
        assert 0.85 < z.std() < 1.15


def test_se_slope_passes_means_and_sees_a_missing_division() -> None:
    good = scaling_runs(rng(), 1.0)
    assert stats.check_se_slope(good, alpha=1e-3, rng=rng(1)).verdict == "pass"
    # Spread growing with B_E, as if each s_n had been multiplied by the batch size.
    bad = [stats.RunScalars(r.B_E, r.run, r.s * r.B_E, 1.0) for r in good]
    assert stats.check_se_slope(bad, alpha=1e-3, rng=rng(1)).verdict == "fail"
    assert stats.check_se_slope(good[:4], alpha=1e-3, rng=rng(1)).verdict == "inconclusive"


def test_seed_fields_follow_the_verdict() -> None:
    fields = stats.seed_fields(scaling_runs(rng(), -3.0, power=1.0, sd=0.01), "scales_as_1/B_E")
    assert fields.expected_if_1_over_B_E == 16
    assert fields.observed_ratio == pytest.approx(16, rel=0.05)
    assert fields.suggests_1_over_B_E_scaling
    assert not fields.suggests_convergence
    assert fields.batch_statistics["8"].runs == 4
    single = stats.seed_fields(scaling_runs(rng(), 1.0, runs=1), "converges")
    assert single.batch_statistics["8"].std_delta_h1 is None


def test_within_noise() -> None:
    words: CheckWords = {"name": "n", "null": "equal", "unit": "nats", "likely_causes": "rows"}
    check = partial(stats.check_within_noise, noise_floor=1e-5, **words)
    assert check([1e-6, -9e-6]).verdict == "pass"
    assert check([1e-6, -2e-5]).verdict == "fail"
    with pytest.raises(ValueError, match="a difference is not a number"):
        check([float("nan")])


def test_budget_never_exceeds_alpha() -> None:
    shares = stats.split_budget(1e-3, {"a": 1.0, "b": 2.0, "c": 0.3})
    assert sum(shares.values()) <= 1e-3
    assert shares["b"] == pytest.approx(2 * shares["a"])
    assert sum(stats.split_budget(0.1, [str(i) for i in range(7)]).values()) <= 0.1
    for bad in ({}, {"a": 0.0}, {"a": float("inf")}):
        with pytest.raises(ValueError, match=r"at least one check|positive and finite"):
            stats.split_budget(1e-3, bad)
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.split_budget(1.0, ["a"])


def test_outcomes_survive_the_round_trip_as_builtins() -> None:
    outcome = stats.check_mean_zero(skewed(rng(), 50), alpha=0.01, **MEAN)
    record = outcome.to_dict()
    assert {type(v) for v in record.values()} <= {float, int, str, type(None), list}
    assert stats.CheckOutcome.from_dict(record) == outcome


@pytest.mark.parametrize(
    ("value", "se", "text"),
    [
        (-1.2345e-5, 4.1e-6, "(-1.23 ± 0.41)e-05"),
        (0.5, 0.2, "0.50 ± 0.20"),
        (123456.0, 3000.0, "(1.235 ± 0.030)e+05"),
        (0.25, None, "0.25"),
        (0.0, 0.0, "0 ± 0"),
    ],
)
def test_measures_have_the_digits_they_deserve(value: float, se: float | None, text: str) -> None:
    assert stats.format_measure(value, se) == text


def test_signal_to_noise_labels() -> None:
    assert stats.signal_to_noise(-1.0, 0.05) == (0.05, "good")
    assert stats.signal_to_noise(1.0, 0.15)[1] == "ok"
    assert stats.signal_to_noise(1.0, 0.2)[1] == "poor"
    assert stats.signal_to_noise(0.0, 0.2) == (None, "poor")
    assert stats.signal_to_noise(1.0, None) == (None, "poor")


def test_a_mean_that_too_few_events_carry_is_not_judged() -> None:
    # 480 prompts without the one event that balances them: a mean 40 standard errors from 0, and nothing wrong.
    x = 1e-3 + 1e-5 * rng().normal(size=480)
    assert stats.check_mean_zero(x, alpha=1e-4, **MEAN).verdict == "fail"
    with pytest.raises(stats.Inconclusive, match=r"only 1\.5 responses are expected(.|\n)*to decide: n = 32000"):
        stats.assert_mean_zero(x, alpha=1e-4, expected_events=1.5, **MEAN)
    assert stats.check_mean_zero(x, alpha=1e-4, expected_events=0.0, **MEAN).samples_needed is None
    assert stats.check_mean_zero(x, alpha=1e-4, expected_events=100.0, **MEAN).verdict == "fail"
    assert stats.check_mean_zero(skewed(rng(), 400), alpha=1e-4, expected_events=1e4, **MEAN).verdict == "pass"
    # A small sample of a policy that surprises in every other prompt is small, and no more.
    small = 1 + 0.1 * rng().normal(size=40)
    assert stats.check_mean_zero(small, alpha=1e-4, expected_events=20.0, **MEAN).verdict == "fail"
    assert stats.check_mean_zero(small, alpha=1e-4, expected_events=19.0, **MEAN).verdict == "inconclusive"


def test_the_observations_asked_for_bring_the_events_and_the_declared_effect() -> None:
    x = skewed(rng(), 400)
    plain = stats.check_mean_zero(x, alpha=1e-4, effect_of_interest=0.01, **MEAN)
    few = stats.check_mean_zero(x, alpha=1e-4, effect_of_interest=0.01, expected_events=80.0, **MEAN)
    assert (plain.verdict, few.verdict) == ("inconclusive", "inconclusive")
    assert few.samples_needed == max(500, present(plain.samples_needed)) > 500


def test_a_reason_is_said_and_travels() -> None:
    outcome = stats.check_mean_zero([1.0, 2.0], alpha=0.1, expected_events=0.5, **MEAN)
    assert "because: only 0.5 responses" in outcome.message()
    assert stats.CheckOutcome.from_dict(outcome.to_dict()) == outcome
    old = {key: value for key, value in outcome.to_dict().items() if key != "reason"}
    assert stats.CheckOutcome.from_dict(old).reason == ""


def test_few_observations_take_more_than_a_small_p() -> None:
    for n in (2, 8, 60, 119):
        assert small_sample(np.array(nominal(1e-2, n)), n) == pytest.approx(1e-2)
        assert small_sample(np.array(0.1), n) == 0.1
    assert float(small_sample(np.array(1e-6), 120)) == 1e-6
    assert nominal(1e-4, 120) == 1e-4
    assert nominal(1e-9, 2) == 1e-300
