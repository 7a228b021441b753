"""What a sweep of known entropies says: slope, curvature, eta*, its interval, and which points are believed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest

from pytest_entropy.checks.eta_sweep_intercept import CHECK
from pytest_entropy.checks.summaries import sweep_fit
from pytest_entropy.checks.summaries.eta_sweep import SweepRecord, sweep_record
from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain
from tests.present import present

ETA = 1e-3


@dataclass
class Run:
    """What the analysis takes of a run."""

    entropy_term: list[float]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    B_E: int = 0
    run: int = 1
    expected_surprises: float | None = 1e4
    asked: list[str] | None = None
    eta: float = ETA

    def __post_init__(self) -> None:
        self.B_E = len(self.entropy_term)
        self.per_prompt = self.entropy_term


def sweep(
    slope: np.ndarray,
    curvature: np.ndarray,
    *,
    multiples: tuple[float, ...] = (-2, -1, 1, 2, 4),
    third: float = 0.0,
    **changes: Any,
) -> EtaSweep:
    """Delta_n(h) = slope_n h + curvature_n h^2 / 2 + third h^3, measured without noise."""
    steps = ETA * np.array(sorted(multiples), dtype=float)
    h = steps[:, None]
    change = slope * h + curvature * h**2 / 2 + third * h**3
    ones = np.ones(len(steps))
    made = EtaSweep(
        eta=np.array(ETA),
        unit=np.array(ETA),
        steps=steps,
        change=change,
        self_normalised=0.9 * change,
        ess=ones,
        group_ess=ones,
        khat=np.full(len(steps), np.nan),
        rounding=0 * ones,
        floor=np.full(change.shape[1], 1e-9),
        fresh_steps=np.array([]),
        fresh=np.array([]),
        fresh_changed=np.array([]),
    )
    return replace(made, **changes)


def prompts(count: int, mean: int, sd: int, seed: int) -> np.ndarray:
    return mean + sd * np.random.default_rng(seed).standard_normal(count)


def run_of(made: EtaSweep, s: np.ndarray) -> RunRecord:
    return cast(RunRecord, Run(list(s), made.arrays()))


def read(made: EtaSweep, s: np.ndarray) -> SweepRecord:
    return sweep_record(run_of(made, s), confidence=0.95, tolerance=0.1)


def test_polynomial_through_four_points_is_exact_to_the_fourth_order() -> None:
    slope, curvature = prompts(20, 5, 3, 0), prompts(20, -40, 90, 1)
    made = sweep(slope, curvature, third=7e3, multiples=(-2, -1, 1, 2))
    coefficients = sweep_fit.polynomial(made.steps, made.change)
    np.testing.assert_allclose(coefficients[0], slope, rtol=1e-9)
    np.testing.assert_allclose(2 * coefficients[1], curvature, rtol=1e-7)


def test_record_of_a_known_curve() -> None:
    slope, curvature = prompts(64, -100, 20, 2), prompts(64, -2000, 200, 3)
    out = read(sweep(slope, curvature), slope)
    assert out.intercept == pytest.approx(slope.mean())
    assert out.intercept_se == pytest.approx(slope.std(ddof=1) / 8)
    assert out.delta_h2 == pytest.approx(curvature.mean())
    assert out.difference == pytest.approx(0, abs=1e-7)
    assert out.eta_star == pytest.approx(2 * abs(slope.mean() / curvature.mean()))
    low, high = present(out.eta_star_interval)
    star = present(out.eta_star)
    assert low < star < present(high)
    assert present(out.second_order_share)[1] == pytest.approx(ETA / star)
    assert [point.eta for point in out.points] == pytest.approx([-2e-3, -1e-3, 1e-3, 2e-3, 4e-3])
    assert all(point.trusted for point in out.points)
    assert sorted(present(out.fitted_steps)) == pytest.approx([-2e-3, -1e-3, 1e-3, 2e-3])
    assert json.dumps(plain(out), allow_nan=False)
    assert [*plain(out)][-2:] == ["verdict", "reading"]
    assert out.verdict == "holds"
    assert out.reading.startswith("first order holds at η = 0.001: the second-order term is 1.0% of the first")


def test_curvature_that_matters_and_that_is_not_known() -> None:
    slope = prompts(64, -100, 20, 2)
    assert read(sweep(slope, prompts(64, -80_000, 100, 3)), slope).verdict == "curvature"
    undecided = read(sweep(slope, prompts(64, -20_000, 50_000, 3)), slope)
    assert undecided.verdict == "undecided"


def test_no_update_decides_nothing() -> None:
    still = sweep(np.zeros(8), np.zeros(8), floor=np.zeros(8))
    assert "does not move" in read(still, np.zeros(8)).reading
    outcome = CHECK.check([run_of(still, np.zeros(8))], alpha=1e-3)
    assert outcome.verdict == "inconclusive"
    assert "direction is zero" in outcome.likely_causes


def test_slope_that_may_be_zero_leaves_no_upper_bound() -> None:
    slope = prompts(16, 0, 20, 5)
    out = read(sweep(slope, prompts(16, 100, 20, 6)), slope)
    assert present(out.eta_star_interval)[0] == 0.0
    assert out.verdict == "undecided"
    assert "or more" in out.reading


@pytest.mark.parametrize("mean_curvature", [0.0, -2e4])
def test_fieller_interval_holds_the_share_as_often_as_it_says(mean_curvature: float) -> None:
    rng, inside, trials = np.random.default_rng(7), 0, 2000
    truth = abs(mean_curvature * ETA / 2 / -100)
    for _ in range(trials):
        both = rng.multivariate_normal([-100, mean_curvature / 2], [[900, 3e4], [3e4, 9e6]], 64)
        fitted = sweep_fit.SweepFit(both[:, 0], both[:, 1], np.array([ETA]))
        low, _, high = sweep_fit.second_order_share(fitted, ETA, confidence=0.95)
        inside += low <= truth <= (np.inf if high is None else high)
    assert abs(inside / trials - 0.95) < 4 * (0.95 * 0.05 / trials) ** 0.5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ess", 0.3, "effective sample size 30%"),
        ("group_ess", 0.4, "effective sample size 40%"),
        ("khat", 0.9, r"k-hat = 0.90"),
        ("rounding", 0.5, "precision changes the step by 50%"),
        ("change", np.inf, "overflow"),
    ],
)
def test_points_that_are_not_to_be_trusted_are_named_and_left_out(name: str, value: float, words: str) -> None:
    slope, curvature = prompts(64, -100, 20, 2), prompts(64, -2000, 200, 3)
    made = sweep(slope, curvature)

    def doubtful(j: int) -> EtaSweep:
        column = getattr(made, name).copy()
        column[j] = value
        return replace(made, eta=made.steps[j], **{name: column})

    out = read(doubtful(2), slope)
    assert words in out.points[2].note
    assert not out.points[2].trusted
    assert ETA not in present(out.fitted_steps)
    # The training step itself is the one in doubt; larger ones speak for it, smaller ones do not.
    assert out.verdict == "holds"
    assert words in out.reading
    assert json.dumps(plain(out), allow_nan=False)
    out = read(doubtful(4), slope)
    _, _, upper = present(out.second_order_share)
    assert present(upper) < 0.1
    assert out.verdict == "undecided"


def test_fresh_responses_of_which_few_changed_have_no_standard_error_to_trust() -> None:
    slope = prompts(64, -100, 20, 2)
    fresh: dict[str, Any] = {
        "fresh_steps": np.array([ETA, 4 * ETA]),
        "fresh": np.ones((2, 64)),
        "fresh_changed": np.array([3, 200]),
    }
    first, second = read(sweep(slope, 0 * slope, **fresh), slope).fresh_samples
    assert "only 3 responses changed" in first.note
    assert (first.trusted, second.trusted) == (False, True)
    assert second.slope == pytest.approx(1 / (4 * ETA))


def test_steps_below_the_noise_floor_are_left_out() -> None:
    slope, curvature = prompts(64, -100, 20, 2), prompts(64, -2000, 200, 3)
    made = sweep(slope, curvature, multiples=(-1, -0.01, 0.01, 1), floor=np.full(64, 1e-3))
    out = read(made, slope)
    assert out.noise_floor == pytest.approx(1e-3)
    assert ["noise floor of 1.0e-03 nats" in point.note for point in out.points] == [False, True, True, False]
    assert sorted(present(out.fitted_steps)) == [-ETA, ETA]


def test_nothing_to_trust_decides_nothing() -> None:
    slope = prompts(64, -100, 20, 2)
    made = sweep(slope, 0 * slope, ess=np.array([0.1, 0.1, 1.0, 0.1, 0.1]))
    outcome = CHECK.check([run_of(made, slope)], alpha=1e-3)
    assert outcome.verdict == "inconclusive"
    assert "effective sample size 10%" in outcome.likely_causes
    assert read(made, slope).verdict == "untrusted"
    with pytest.raises(ValueError, match=r"set eta_sweep.multiples"):
        sweep_record(cast(RunRecord, Run([1.0, 2.0])), confidence=0.95, tolerance=0.1)


def test_intercept_check_keeps_its_level_and_sees_a_factor() -> None:
    rng, red = np.random.default_rng(8), 0
    for _ in range(400):
        s = rng.normal(-100, 40, 64)
        made = sweep(s + rng.normal(0, 20, 64), rng.normal(-2000, 500, 64))
        red += CHECK.check([run_of(made, s)], alpha=0.05).verdict == "fail"
    assert red <= 40  # 400 x 0.05 and 4.6 standard deviations
    s = rng.normal(-100, 40, 64)
    made = sweep(s + rng.normal(0, 20, 64), 0 * s)
    assert CHECK.check([run_of(made, 1.5 * s)], alpha=1e-4).verdict == "fail"
    assert CHECK.check([run_of(made, -s)], alpha=1e-4).verdict == "fail"
