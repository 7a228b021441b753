"""Permutation p-values against full enumeration, their resolution, and the checks built on them at odd input."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_entropy import stats
from pytest_entropy.stats.outcome import CheckOutcome
from pytest_entropy.stats.permutation import arrangements, most_shuffles, permutation_test, run_moments
from pytest_entropy.stats.scaling import RunScalars
from tests.present import present


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def difference(table: np.ndarray) -> np.ndarray:
    gap: np.ndarray = table[:, :3].mean(axis=1) - table[:, 3:].mean(axis=1)
    return gap


def test_the_p_value_is_the_enumerated_one() -> None:
    x = np.array([3.1, 2.9, 0.4, 0.1, -1.0, 0.2, 1.7])
    every = difference(np.array(list(itertools.permutations(x))))
    seen = float(difference(x[None])[0])
    exact = 2 * min((every >= seen - 1e-12).mean(), (every <= seen + 1e-12).mean())
    result = permutation_test(seen, x, difference, sizes=[3, 4], rng=rng(), shuffles=40_000)
    assert result.p_value == pytest.approx(exact, abs=5 * (2 * exact / len(result.shuffled)) ** 0.5)
    assert result.resolution == pytest.approx(2 / 35)  # 7 choose 3 arrangements


def test_ties_count_as_extreme() -> None:
    x = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    result = permutation_test(1.0, x, difference, sizes=[3, 4], rng=rng(), shuffles=20_000)
    assert result.p_value == pytest.approx(2 / 35, rel=0.2)


def test_arrangements() -> None:
    assert arrangements([3, 4]) == pytest.approx(math.comb(7, 3))
    assert arrangements([2, 2, 2]) == pytest.approx(15)  # which run is which does not matter
    assert arrangements([256] * 15) == math.inf


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-4])
def test_resolution_is_that_of_all_shuffles_even_where_shuffling_stopped_early(alpha: float) -> None:
    x = rng().normal(size=40)
    result = permutation_test(0.0, x, difference, sizes=[13, 27], rng=rng(), alpha=alpha)
    assert len(result.shuffled) < most_shuffles(1e-6)
    assert result.resolution < alpha / 2


def test_run_moments_are_numpys() -> None:
    table, sizes = rng().normal(size=(5, 9)), np.array([2, 3, 4])
    means, variances = run_moments(table, sizes)
    parts = np.split(table, [2, 5], axis=1)
    assert means == pytest.approx(np.stack([p.mean(axis=1) for p in parts], axis=1))
    assert variances == pytest.approx(np.stack([p.var(axis=1, ddof=1) / p.shape[1] for p in parts], axis=1))


def calibration(
    s: list[np.ndarray], *, factor: float = 1.0, alpha: float = 1e-3, scale: float = 1.0, **more: Any
) -> CheckOutcome:
    delta = [scale * float(np.mean(x)) for x in s]
    se = [abs(scale) * factor * float(np.std(x, ddof=1)) / len(x) ** 0.5 for x in s]
    return stats.check_se_calibration(s, delta, se, scale=scale, alpha=alpha, rng=rng(5), **more)


@pytest.mark.parametrize("scale", [1e-150, 1e-4, -3.0, 1e150])
def test_calibration_does_not_care_for_units_and_signs(scale: float) -> None:
    s = [rng(i).lognormal(0, 1, 20) for i in range(8)]
    plain, scaled = calibration(s), calibration(s, scale=scale)
    assert scaled.effect == pytest.approx(plain.effect)
    assert scaled.p_value == pytest.approx(plain.p_value, abs=0.01)


def test_calibration_evidence_grows_with_the_ratio() -> None:
    s = [rng(i).normal(size=20) for i in range(10)]
    p = [present(calibration(s, factor=1 / ratio).p_value) for ratio in (1.2, 1.6, 2.2, 3.0)]
    assert p == sorted(p, reverse=True)
    assert p[-1] < 1e-3 < p[0]


def test_calibration_interval_holds_the_ratios_it_does_not_reject() -> None:
    s = [rng(i).normal(size=20) for i in range(12)]
    low, high = present(calibration(s, alpha=0.05, shuffles=20_000).ci)
    effect = present(calibration(s).effect)
    assert low < effect < high
    for end in (low, high):
        # Reported errors larger by the interval's end put the seen ratio at the edge of what is rejected.
        assert calibration(s, factor=end, alpha=0.05, shuffles=20_000).p_value == pytest.approx(0.05, abs=0.02)


def test_calibration_at_the_session_share_can_pass() -> None:
    s = [rng(i).normal(size=32) for i in range(15)]
    assert calibration(s, alpha=1.25e-4).verdict == "pass"


def test_too_few_arrangements_or_shuffles_are_inconclusive() -> None:
    s = [rng(i).normal(size=2) for i in range(3)]
    outcome = calibration(s, alpha=0.05)
    assert outcome.verdict == "inconclusive"
    assert outcome.p_resolution == pytest.approx(2 / 15)
    assert calibration([rng(i).normal(size=32) for i in range(15)], shuffles=99).verdict == "inconclusive"


def test_calibration_refuses_what_it_cannot_judge() -> None:
    s = [rng(i).normal(size=4) for i in range(4)]
    for arguments, message in (
        ((s, [0.0] * 3, [1.0] * 4, 1.0), "4 runs of scalars, 3 values"),
        ((s, [0.0] * 4, [1.0, 1.0, 1.0, -1.0], 1.0), "a standard error is negative"),
        ((s, [float("nan")] * 4, [1.0] * 4, 1.0), "a value is not finite"),
        ((s, [0.0] * 4, [1.0] * 4, 0.0), "the scale is 0.0"),
        (([*s[:3], np.ones(1)], [0.0] * 4, [1.0] * 4, 1.0), "fewer than 2 prompts"),
    ):
        with pytest.raises(ValueError, match=message):
            stats.check_se_calibration(*arguments[:3], scale=arguments[3], alpha=0.1, rng=rng())
    with pytest.raises(ValueError, match="a ratio spread / SE above 1"):
        calibration(s, effect_of_interest=0.5)
    assert calibration([np.ones(4)] * 4).verdict == "inconclusive"
    assert calibration(s, factor=0.0).verdict in {"fail", "inconclusive"}


def test_calibration_declared_effect() -> None:
    s = [rng(i).normal(size=32) for i in range(5)]
    with pytest.raises(stats.Inconclusive, match="to decide: n = "):
        stats.assert_se_calibration(
            s, [x.mean() for x in s], [x.std(ddof=1) / 32**0.5 for x in s], scale=1.0, alpha=1e-3, rng=rng(),
            effect_of_interest=1.5,
        )  # fmt: skip


def scaling(
    value: float,
    sizes: tuple[int, ...] = (8, 32, 128),
    count: int = 4,
    power: float = 0.0,
    se_power: float | None = None,
    seed: int = 0,
) -> list[RunScalars]:
    generator, runs = rng(seed), []
    for size in sizes:
        for number in range(count):
            s = (value + generator.normal(size=size)) * size**power
            se = None if se_power is None else float(s.std(ddof=1)) * size**se_power
            runs.append(stats.RunScalars(size, number, s, 1.0, se))
    return runs


def test_se_slope_judges_the_reported_standard_errors() -> None:
    def slope(se_power: float) -> CheckOutcome:
        return stats.check_se_slope(scaling(1.0, se_power=se_power), alpha=1e-3, rng=rng())

    assert slope(-0.5).verdict == "pass"
    assert slope(-0.5).effect == pytest.approx(0, abs=0.2)
    assert slope(-1.0).verdict == "fail"  # divided by B_E instead of its root
    assert slope(-1.0).effect == pytest.approx(-0.5, abs=0.2)
    assert slope(0.0).verdict == "fail"  # not divided at all


def test_se_slope_says_when_it_cannot_see_one_division_too_many() -> None:
    few = scaling(1.0, sizes=(8, 10), count=2)
    outcome = stats.check_se_slope(few, alpha=1e-3, rng=rng())
    assert outcome.verdict == "inconclusive"
    assert present(outcome.samples_needed) > len(few)
    with pytest.raises(stats.Inconclusive, match="se_slope: inconclusive"):
        stats.assert_se_slope(few, alpha=1e-3, rng=rng())
    assert stats.check_se_slope(few, alpha=1e-3, effect_of_interest=None, rng=rng()).verdict == "pass"


def test_se_slope_refuses_impossible_errors() -> None:
    runs = scaling(1.0, se_power=-0.5)
    broken = [stats.RunScalars(runs[0].B_E, 0, runs[0].s, 1.0, 0.0), *runs[1:]]
    with pytest.raises(ValueError, match="not positive though the scalars differ"):
        stats.check_se_slope(broken, alpha=0.1, rng=rng())
    with pytest.raises(ValueError, match="no runs"):
        stats.check_se_slope([], alpha=0.1, rng=rng())
    flat = [stats.RunScalars(b, 0, np.ones(b), 1.0) for b in (4, 8)]
    assert stats.check_se_slope(flat, alpha=0.1, rng=rng()).verdict == "inconclusive"


def test_convergence_as_one_check() -> None:
    assert stats.assert_convergence(scaling(-1.0), alpha=1e-3, rng=rng()).verdict == "pass"
    pure = [stats.RunScalars(r.B_E, r.run, r.s - 1.0 + 30 / r.B_E, 1.0) for r in scaling(1.0)]
    with pytest.raises(stats.StatisticalFailure, match="does not depend on B_E"):
        stats.assert_convergence(pure, alpha=1e-3, rng=rng())


def test_a_verdict_below_the_resolution_is_inconclusive() -> None:
    fit = stats.fit_scaling(scaling(-1.0), rng=rng(), shuffles=999)
    verdict = stats.scaling_verdict(fit, alpha=1e-4)
    assert verdict.verdict == "inconclusive"
    assert "below the smallest p-value that shuffles of 672 prompts can give" in verdict.reason
    assert stats.scaling_verdict(fit, alpha=0.01).verdict == "converges"


def test_more_runs_are_asked_for_the_part_in_doubt() -> None:
    fit = stats.ScalingFit(
        [8, 128], 4, 272, 1.0, 0.95, a=1.0, se_a=0.1, ci_a=(0.8, 1.2), p_a=0.0, b=6.0, se_b=2.0, ci_b=(2.0, 10.0),
        p_b=0.003, p_b_resolution=1e-5,
    )  # fmt: skip
    doubtful_b = stats.scaling_verdict(fit, alpha=1e-4, tolerance=0.0)
    assert doubtful_b.verdict == "inconclusive"
    # 2 runs per B_E times ((3.89 + 1.28) * 2 / 6)^2, less the 2 there are
    assert doubtful_b.runs_needed == 4
    doubtful_a = stats.scaling_verdict(
        replace(fit, a=0.1, ci_a=(-0.1, 0.3), b=0.0, ci_b=(-4.0, 4.0), p_b=1.0), alpha=1e-4
    )
    assert doubtful_a.verdict == "inconclusive"
    # 2 * ((1.96 + 1.28) * 0.1 / 0.1)^2 - 2
    assert doubtful_a.runs_needed == 20


# ---------------------------------------------------------------------- runs that share prompts


def shared_runs(pool: int, count: int, runs: int, between: float, generator: np.random.Generator) -> list[np.ndarray]:
    """Runs of ``count`` prompts of one set of ``pool``, drawn without replacement; ``between`` of the variance is
    prompts' own."""
    own = generator.normal(size=pool)
    return [
        between**0.5 * own[generator.permutation(pool)[:count]] + (1 - between) ** 0.5 * generator.normal(size=count)
        for _ in range(runs)
    ]


@pytest.mark.parametrize(("pool", "count"), [(32, 32), (40, 32), (288, 256)])
def test_runs_that_share_their_prompts_are_not_red_for_it(pool: int, count: int) -> None:
    s = shared_runs(pool, count, 15, 0.95, rng(3))
    assert calibration(s).verdict == "fail"
    outcome = calibration(s, sampling_fraction=count / pool, effect_of_interest=3.0)
    assert outcome.verdict == "inconclusive"
    assert "runs share prompts" in outcome.message()


def test_a_spread_too_large_for_runs_that_share_prompts_is_red() -> None:
    s = shared_runs(64, 32, 15, 0.5, rng(4))
    assert calibration(s, sampling_fraction=0.5).verdict == "pass"
    assert calibration(s, factor=0.2, sampling_fraction=0.5).verdict == "fail"
    # Errors reported ten times too large leave a spread below all that sharing could explain.
    assert calibration(s, factor=10.0, sampling_fraction=0.5).verdict == "fail"
    # With all prompts in every run, or nearly all, nothing is too small.
    assert calibration(s, factor=10.0, sampling_fraction=1.0).verdict == "pass"
    assert calibration(s, factor=10.0, sampling_fraction=32 / 39).verdict == "pass"


def test_one_prompt_unlike_all_others_that_is_seldom_left_out_is_no_fault() -> None:
    """Of 33 prompts every run leaves out one: the spread over runs is what those few are like, and nothing else."""
    own = np.r_[30.0, 0.01 * rng(7).normal(size=32)]
    s = [np.delete(own, 1 + run) + 1e-3 * rng(run).normal(size=32) for run in range(15)]
    assert calibration(s).verdict == "fail"
    assert calibration(s, sampling_fraction=32 / 33, effect_of_interest=3.0).verdict == "inconclusive"


def test_sharing_is_named_only_where_it_is_what_hides_the_effect() -> None:
    s = shared_runs(320, 32, 3, 0.5, rng(8))
    few = calibration(s, sampling_fraction=0.1, effect_of_interest=3.0)
    assert (few.verdict, few.reason) == ("inconclusive", "")


def test_runs_of_one_collapsed_policy_on_all_prompts_do_not_differ_at_all() -> None:
    once = rng(5).normal(size=32)
    assert calibration([once] * 15, sampling_fraction=1.0, effect_of_interest=3.0).verdict == "inconclusive"
    assert calibration([once] * 15).verdict == "fail"


def test_what_sharing_hides_is_in_the_smallest_effect_and_in_the_runs_needed() -> None:
    s = shared_runs(160, 32, 15, 0.5, rng(6))
    alone = calibration(s, effect_of_interest=3.0)
    shared = calibration(s, effect_of_interest=3.0, sampling_fraction=0.2)
    assert shared.minimum_detectable_effect == pytest.approx(alone.minimum_detectable_effect / 0.8**0.5)
    tight = calibration(s, effect_of_interest=2.0, sampling_fraction=0.5)
    assert tight.verdict == "inconclusive"
    assert tight.samples_needed == stats.min_num_samples_se_calibration(2**0.5, alpha=1e-3)
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="sampling_fraction"):
            calibration(s, sampling_fraction=fraction)
