"""What every check owes its user: units and signs do not matter, intervals invert tests, effect is evidence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pytest_entropy import stats
from pytest_entropy.stats.guarded_t import small_sample
from pytest_entropy.stats.intervals import FEWEST_PROMPTS
from tests.check_words import CheckWords
from tests.present import present

WORDS: CheckWords = {"name": "m", "null": "the mean is 0", "unit": "nats", "likely_causes": "a bug"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def samples() -> Iterator[np.ndarray]:
    """Shapes that per-prompt scalars have: normal, skewed, heavy-tailed, spiky, few."""
    generator = rng(11)
    yield generator.normal(0.2, 1, 480)
    yield generator.lognormal(0, 1, 300) - 1.2
    yield generator.standard_t(3, 1000)
    yield 10.0 * (generator.random(200) < 0.05) - 0.4 + 0.1 * generator.normal(size=200)
    yield generator.normal(size=5)


SAMPLES = list(samples())
# Those with an interval.
MANY = [x for x in SAMPLES if len(x) >= FEWEST_PROMPTS]


def p_of(x: np.ndarray) -> float:
    return present(stats.check_mean_zero(x, alpha=0.01, **WORDS).p_value)


# ---------------------------------------------------------------------- the mean


@pytest.mark.parametrize("x", SAMPLES)
@pytest.mark.parametrize("scale", [1e-300, 1e-9, 7.0, 1e150, 1e300])
def test_the_unit_of_the_data_does_not_matter(x: np.ndarray, scale: float) -> None:
    plain, scaled = (stats.check_mean_zero(v, alpha=0.01, **WORDS) for v in (x, scale * x))
    assert scaled.p_value == pytest.approx(plain.p_value, rel=1e-6)
    assert present(scaled.effect) / scale == pytest.approx(plain.effect)
    assert present(scaled.minimum_detectable_effect) / scale == pytest.approx(plain.minimum_detectable_effect)
    assert (scaled.ci is None) == (plain.ci is None) == (len(x) < FEWEST_PROMPTS)
    if plain.ci is not None:
        assert np.array(scaled.ci) / scale == pytest.approx(plain.ci)


@pytest.mark.parametrize("x", MANY)
def test_the_sign_of_the_data_turns_the_interval_around(x: np.ndarray) -> None:
    plain, mirrored = (stats.check_mean_zero(v, alpha=0.01, **WORDS) for v in (x, -x))
    assert mirrored.p_value == pytest.approx(plain.p_value)
    low, high = present(plain.ci)
    assert mirrored.ci == pytest.approx((-high, -low))


@pytest.mark.parametrize("x", SAMPLES)
def test_the_order_of_observations_does_not_matter(x: np.ndarray) -> None:
    assert p_of(rng(3).permutation(x)) == pytest.approx(p_of(x), rel=1e-6)


@pytest.mark.parametrize("x", MANY)
def test_the_interval_is_what_the_test_does_not_reject(x: np.ndarray) -> None:
    low, high = present(stats.check_mean_zero(x, alpha=0.01, **WORDS).ci)
    width = high - low
    # Of few observations, the interval is that of the p-value before it is raised.
    level = float(small_sample(np.array(0.05), len(x)))
    assert p_of(x - low) == pytest.approx(level, rel=1e-4)
    assert p_of(x - high) == pytest.approx(level, rel=1e-4)
    assert p_of(x - low - 0.02 * width) > level > p_of(x - low + 0.02 * width)
    assert p_of(x - high + 0.02 * width) > level > p_of(x - high - 0.02 * width)


@pytest.mark.parametrize("x", SAMPLES)
def test_more_effect_is_more_evidence(x: np.ndarray) -> None:
    centred = x - x.mean()
    steps = np.linspace(0.05, 3, 60) * centred.std()
    for sign in (1, -1):
        p = [p_of(centred + sign * step) for step in steps]
        assert (np.diff(p) <= 0).all()
        assert p[-1] < p[0]


def test_rows_give_the_p_values_of_the_check() -> None:
    table = rng().lognormal(0, 1, (5, 64)) - 1.5
    assert stats.p_values_mean_zero(table) == pytest.approx([p_of(row) for row in table])
    assert np.isnan(stats.p_values_mean_zero(np.ones((1, 4)))).all()


@pytest.mark.parametrize(
    "x", [[1.0, 2.0], [0.0, 1.0, 0.0], [1e-320, 0.0, 3e-320], [1.0, np.nextafter(1, 2), 1.0], range(6)]
)
@pytest.mark.parametrize("alpha", [0.9, 1e-3, 1e-12, 1e-300])
def test_two_observations_ties_and_tiny_spreads_are_no_trouble(x: list[float] | range, alpha: float) -> None:
    outcome = stats.check_mean_zero(x, alpha=alpha, **WORDS)
    assert 0 <= present(outcome.p_value) <= 1
    assert outcome.ci is None, "so few observations have no interval"
    assert present(outcome.minimum_detectable_effect) > 0


@pytest.mark.parametrize("x", [[1.0, 2.0], [0.0, 1.0, 0.0], [1e-320, 0.0, 3e-320], range(6)])
def test_ties_and_tiny_spreads_have_an_interval(x: list[float] | range) -> None:
    low, high = present(stats.check_mean_zero(np.tile(x, 20), alpha=0.01, **WORDS).ci)
    assert low < high


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_alpha_outside_0_and_1_is_refused_by_every_check(alpha: float) -> None:
    x = rng().normal(size=40)
    runs = [stats.RunScalars(b, 1, rng().normal(size=b), 1.0) for b in (4, 8)]
    calls: list[Callable[[], object]] = [
        lambda: stats.check_mean_zero(x, alpha=alpha, **WORDS),
        lambda: stats.check_mean_difference(x, x, alpha=alpha, **WORDS),
        lambda: stats.check_equivalent(x, x, margin=1.0, alpha=alpha, **WORDS),
        lambda: stats.check_uniform_pit(np.full(9, 0.5), np.ones(9), alpha=alpha, **WORDS),
        lambda: stats.check_uniform_p_values(np.full(9, 0.5), alpha=alpha),
        lambda: stats.check_se_calibration([x, x, x], [0.0] * 3, [1.0] * 3, scale=1.0, alpha=alpha, rng=rng()),
        lambda: stats.check_se_slope(runs, alpha=alpha, rng=rng()),
        lambda: stats.check_convergence(runs, alpha=alpha, rng=rng()),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="alpha is .*, it must lie between 0 and 1"):
            call()


def test_planning_is_monotone_and_refuses_nonsense() -> None:
    reach = [stats.min_discrepancy_mean_zero(1.0, n, alpha=1e-3) for n in (2, 5, 20, 100, 1000, 10**6)]
    assert (np.diff(reach) < 0).all()
    assert stats.min_discrepancy_mean_zero(1.0, 100, alpha=1e-6) > reach[3]
    assert stats.min_num_samples_mean_zero(1.0, 1e-30, alpha=1e-3) == 10**15
    skewed = rng().lognormal(0, 1, 1000)
    n = stats.min_num_samples_mean_zero(skewed, 0.3, alpha=1e-3)
    assert stats.min_discrepancy_mean_zero(skewed, n, alpha=1e-3) <= 0.3
    assert stats.min_discrepancy_mean_zero(skewed, n - 1, alpha=1e-3) > 0.3
    for bad, message in (((0.0, 9), "sd is 0.0"), ((1.0, 1), "n is 1"), (([1.0], 9), "at least 2 finite numbers")):
        with pytest.raises(ValueError, match=message):
            stats.min_discrepancy_mean_zero(*bad, alpha=0.1)
    with pytest.raises(ValueError, match="effect is 0"):
        stats.min_num_samples_mean_zero(1.0, 0.0, alpha=0.1)


# ---------------------------------------------------------------------- the conventions


def test_every_check_is_a_triple_with_an_assert_form() -> None:
    names = {name.split("_", 1)[1] for name in stats.__all__ if name.startswith("check_")}
    deterministic = {"within_noise"}
    for name in names:
        assert f"assert_{name}" in stats.__all__
        assert f"assert_{name}" in dir(stats)
        if name not in deterministic:
            assert {f"min_discrepancy_{name}", f"min_num_samples_{name}"} <= set(stats.__all__)
    assert len(names) > 7


@pytest.mark.parametrize("name", [n.removeprefix("assert_") for n in stats.__all__ if n.startswith("assert_")])
def test_assert_forms_take_what_their_check_takes(name: str) -> None:
    check, asserting = (inspect.signature(getattr(stats, f"{verb}_{name}")) for verb in ("check", "assert"))
    offered = {k: (p.default, p.kind) for k, p in check.parameters.items() if k != "shuffles"}
    assert {k: (p.default, p.kind) for k, p in asserting.parameters.items()} == offered


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mean_difference", (1.0,)),
        ("uniform_p_values", ()),
        ("equivalent", (2.0,)),
    ],
)
def test_design_partners_invert_each_other(name: str, arguments: tuple[float, ...]) -> None:
    rate = {"beta": 0.01} if name == "equivalent" else {"alpha": 0.01}
    for n in (20, 333, 2000):
        effect = getattr(stats, f"min_discrepancy_{name}")(*arguments, n, **rate)
        assert getattr(stats, f"min_num_samples_{name}")(*arguments, effect, **rate) == n


def test_design_partners_of_the_scaling_checks_invert_each_other() -> None:
    sizes = [8, 32, 128]
    for runs in (2, 5, 40):
        b = stats.min_discrepancy_convergence(sizes * runs, 0.3, alpha=1e-3)
        assert stats.min_num_samples_convergence(sizes, 0.3, b, alpha=1e-3) == runs
        for scalars in (None, rng().lognormal(0, 1, 500)):
            slope = stats.min_discrepancy_se_slope(sizes * runs, alpha=1e-3, scalars=scalars)
            assert stats.min_num_samples_se_slope(sizes, slope, alpha=1e-3, scalars=scalars) == runs
    for call in (
        stats.min_discrepancy_se_slope,
        lambda s, alpha: stats.min_discrepancy_convergence(s, 1.0, alpha=alpha),
    ):
        with pytest.raises(ValueError, match="at least two distinct B_E"):
            call([8, 8], alpha=0.1)
