"""False-alarm rates of every check, and of whole sessions, over simulated sessions in which nothing is wrong; power.

Each rate's Clopper-Pearson interval is printed.  A level counts as broken when the interval's lower end at 1e-7
lies above alpha: fewer than 1000 rates are judged, so a correct library fails this file less than once in 1e4 runs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from tests.statistical import levels
from tests.statistical.levels import Level, Power
from tests.statistical.rates import assert_at_least, assert_at_most
from tests.statistical.sessions import SANITY, SCALING, SHARE, SHARED, shared_calibration

pytestmark = pytest.mark.slow
COARSE = (0.05, 0.01)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """New randomness each time: what is asserted has an error rate, and holds whatever the seed."""
    seed = np.random.SeedSequence().entropy
    print(f"\nseed {seed}")
    return np.random.default_rng(seed)


def judge(rows: Iterable[Level]) -> None:
    rows = list(rows)
    assert rows
    for row in rows:
        what = f"{row.check} on {row.population}, {row.design}, alpha {row.alpha:.2g}"
        print(f"{what}: {row.seen}")
        if (row.population, row.design) not in levels.BEYOND_REACH:
            assert_at_most(row.seen, row.alpha, what)


def judge_power(rows: Iterable[Power], promised: float = 0.9) -> None:
    """``min_discrepancy_`` plans for 0.95 by approximation; docs/statistics.md has what is measured."""
    rows = list(rows)
    assert rows
    for row in rows:
        what = f"{row.check} on {row.population}, {row.design}, alpha {row.alpha:.2g}, effect {row.effect:.3g}"
        print(f"{what}: power {row.seen}")
        assert_at_least(row.seen, promised, what)


@pytest.mark.parametrize(("n", "sessions"), [(480, 20_000), (3840, 2_000)])
def test_level_of_mean_zero(n: int, sessions: int, rng: np.random.Generator) -> None:
    judge(levels.mean_zero(n, sessions, rng))


@pytest.mark.parametrize(("design", "shuffles", "alphas"), [("15 x 32", 399, COARSE), ("15 x 256", 59, (0.05,))])
def test_level_of_se_calibration(
    design: str, shuffles: int, alphas: tuple[float, ...], rng: np.random.Generator
) -> None:
    assert design in SANITY
    judge(levels.se_calibration(design, 2000, rng, shuffles=shuffles, alphas=alphas))


@pytest.mark.parametrize("design", SHARED)
def test_level_of_se_calibration_on_a_small_set_of_prompts(design: str, rng: np.random.Generator) -> None:
    """Every run may draw all there is: what runs share is no fault of the errors they report."""
    judge(levels.shared_prompts(design, 40 if design.startswith("256") else 400, rng, shuffles=199))


def test_runs_that_share_prompts_are_red_where_the_check_is_not_told(rng: np.random.Generator) -> None:
    p = shared_calibration("Gaussian", "32 of 32 x 15", 0.95, 50, rng, shuffles=399, told=False)
    assert (p < 0.01).mean() > 0.9


def test_level_of_means_on_collapsed_policies(rng: np.random.Generator) -> None:
    """Down to no surprise at all."""
    judge(levels.collapsed(4000, rng))


def test_means_on_collapsed_policies_are_red_without_the_guard(rng: np.random.Generator) -> None:
    rates = {
        r.design: r.seen.value for r in levels.collapsed(2000, rng, guarded=False) if r.population == "equal sizes"
    }
    assert rates["0.06 expected"] > 0.85
    assert rates["1 expected"] > 0.25


@pytest.mark.parametrize("design", SCALING)
def test_level_of_convergence(design: str, rng: np.random.Generator) -> None:
    judge(levels.convergence(design, 2000, rng, shuffles=399, alphas=COARSE))


@pytest.mark.parametrize("design", SCALING)
def test_level_of_se_slope(design: str, rng: np.random.Generator) -> None:
    judge(levels.se_slope(design, 2000, rng, shuffles=399, alphas=COARSE))


def test_level_of_uniform_pit(rng: np.random.Generator) -> None:
    judge(levels.uniform_pit(5000, rng))


def test_level_of_likelihood_ratio(rng: np.random.Generator) -> None:
    judge(levels.likelihood_ratio(5000, rng))


def test_level_of_uniform_p_values(rng: np.random.Generator) -> None:
    judge(levels.uniform_p_values(4000, rng))


def test_errors_of_equivalent(rng: np.random.Generator) -> None:
    judge(levels.equivalent(2000, rng))


@pytest.mark.parametrize("G", [8, 2])
def test_sessions_of_checks_without_shuffles(G: int, rng: np.random.Generator) -> None:
    seen = levels.cheap_sessions(G, 1e-3, 20_000, rng)
    print(f"sessions with a red check of the six: {seen}; their part of the budget is {6 * SHARE:.2g}")
    assert_at_most(seen, 6 * SHARE, "six checks of a session")


@pytest.mark.parametrize("G", [8, 2])
def test_whole_sessions(G: int, rng: np.random.Generator) -> None:
    seen = levels.whole_sessions(G, 0.05, 2000, rng, shuffles=299)
    print(f"sessions with a red check at a budget of 0.05: {seen}")
    assert_at_most(seen, 0.05, "whole sessions")


def test_whole_sessions_at_the_default_budget(rng: np.random.Generator) -> None:
    """All nine checks as they are run, with as many shuffles as they ask for; about three minutes of one core."""
    seen = levels.whole_sessions(8, 1e-3, 2000, rng, shuffles=None)
    print(f"sessions with a red check at a budget of 1e-3: {seen}")
    assert_at_most(seen, 1e-3, "whole sessions")


@pytest.mark.parametrize(("n", "sessions"), [(480, 2000), (3840, 500)])
def test_power_of_mean_zero(n: int, sessions: int, rng: np.random.Generator) -> None:
    judge_power(levels.power_of_mean_zero(n, SHARE, sessions, rng))


def test_power_of_se_calibration(rng: np.random.Generator) -> None:
    judge_power(levels.power_of_se_calibration(0.05, 300, rng, shuffles=399))


def test_power_of_scaling_checks(rng: np.random.Generator) -> None:
    judge_power(levels.power_of_scaling("8,32,128 x 4", 0.05, 300, rng, shuffles=399))


def test_power_of_the_others(rng: np.random.Generator) -> None:
    judge_power(levels.power_of_the_others(1000, rng))


def test_pure_scaling_seldom_passes_as_convergence(rng: np.random.Generator) -> None:
    judge(levels.false_convergence("8,32,128 x 4", 2000, rng))
