"""False-alarm rates and power of every check over simulated sessions; judged by test_levels.py, tabulated by
benchmarks/measure_levels.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pytest_entropy import stats
from pytest_entropy.stats.mean import too_few_events
from pytest_entropy.stats.uniform import Side
from tests.check_words import CheckWords
from tests.statistical import sessions as simulate
from tests.statistical.rates import Rate, rate, rejections
from tests.statistical.sessions import ALPHAS, SANITY, SCALING, SHARE

SCALARS_OF_RUNS = ["G=8 s", "G=2 s", "lognormal(1)"]
# Beyond what any test can do: of 480 observations, one sample in 124 has no spike at all (docs/statistics.md).
BEYOND_REACH = {("1 % spikes", "n = 480")}


@dataclass(frozen=True)
class Level:
    """How often a check rejected at ``alpha`` in sessions where it should not have."""

    check: str
    population: str
    design: str
    alpha: float
    seen: Rate


@dataclass(frozen=True)
class Power:
    """How often a check saw the effect that ``min_discrepancy_`` says it sees 95 times of 100."""

    check: str
    population: str
    design: str
    alpha: float
    effect: float
    seen: Rate


def mean_zero(n: int, sessions: int, rng: np.random.Generator) -> Iterator[Level]:
    for name in [*simulate.DEMO, *simulate.LAWS]:
        p = simulate.mean_zero(name, n, sessions, rng)
        yield from (Level("mean_zero", name, f"n = {n}", alpha, rejections(p, alpha)) for alpha in ALPHAS)


def se_calibration(
    design: str, sessions: int, rng: np.random.Generator, *, shuffles: int | None, alphas: tuple[float, ...]
) -> Iterator[Level]:
    for name in SCALARS_OF_RUNS:
        p = simulate.se_calibration(name, SANITY[design], sessions, rng, shuffles=shuffles)
        yield from (Level("se_calibration", name, design, alpha, rejections(p, alpha)) for alpha in alphas)


def shared_prompts(
    design: str, sessions: int, rng: np.random.Generator, *, shuffles: int, told: bool = True
) -> Iterator[Level]:
    """SE calibration where runs share the prompts of one set."""
    for name in simulate.SPREADS:
        for between in (0.0, 0.5, 0.95):
            p = simulate.shared_calibration(name, design, between, sessions, rng, shuffles=shuffles, told=told)
            population = f"{name}, {between:.0%} between prompts"
            yield from (
                Level("se_calibration", population, design, alpha, rejections(p, alpha)) for alpha in (0.05, 0.01)
            )


def collapsed(sessions: int, rng: np.random.Generator, *, guarded: bool = True) -> Iterator[Level]:
    """Means over sampled tokens with few surprises to be expected, down to none; ``guarded``: as the check judges."""
    for name in ("equal sizes", "lognormal(1) sizes", "sizes of both signs"):
        for expected in (0.0, 0.06, 1.0, 10.0, 30.0, 100.0, 300.0):
            parts = [simulate.surprising(name, expected, 480, 2000, rng) for _ in range(max(1, sessions // 2000))]
            judged = not (guarded and too_few_events(expected, 480))
            red = np.concatenate([stats.p_values_mean_zero(x) < SHARE for x in parts]) & judged
            yield Level("mean_zero", name, f"{expected:g} expected", SHARE, rate(red))
    for temperature in simulate.COLLAPSED:
        scalars, each = simulate.collapsed(temperature)
        for name, x in scalars.items():
            for n in (64, 480, 2400):
                counts = [500] * max(1, sessions // 500)
                p = np.concatenate([stats.p_values_mean_zero(x[rng.integers(0, len(x), (c, n))]) for c in counts])
                # A sample without any spread is a mean that is not 0, and no p.
                red = ~(p >= SHARE) & (not (guarded and too_few_events(each * n, n)))
                yield Level(
                    "mean_zero", f"demo at T = {temperature}, {name}", f"{each * n:.0f} expected", SHARE, rate(red)
                )


def convergence(
    design: str, sessions: int, rng: np.random.Generator, *, shuffles: int | None, alphas: tuple[float, ...]
) -> Iterator[Level]:
    for name in SCALARS_OF_RUNS:
        # No entropy change at all: any b that is seen turns the verdict red.
        fits = simulate.convergence(name, SCALING[design], sessions, rng, shuffles=shuffles)
        for alpha in alphas:
            red = [stats.scaling_verdict(fit, alpha=alpha).outcome.verdict == "fail" for fit in fits]
            yield Level("convergence", name, design, alpha, rate(np.array(red)))


def false_convergence(design: str, sessions: int, rng: np.random.Generator) -> Iterator[Level]:
    """The bug passing: delta_h1 = b / B_E exactly, b ten times its standard error, judged to converge."""
    for name in SCALARS_OF_RUNS:
        sd, sizes = simulate.spread(name), SCALING[design]
        b = 10 / 5.4 * stats.min_discrepancy_convergence(sizes, sd, alpha=SHARE)
        fits = simulate.convergence(name, sizes, sessions, rng, shuffles=99, b=b)
        passed = [stats.scaling_verdict(fit, alpha=0.05).verdict == "converges" for fit in fits]
        yield Level("convergence passes pure 1/B_E", name, design, 0.05, rate(np.array(passed)))


def se_slope(
    design: str, sessions: int, rng: np.random.Generator, *, shuffles: int | None, alphas: tuple[float, ...]
) -> Iterator[Level]:
    for name in SCALARS_OF_RUNS:
        p = simulate.se_slope(name, SCALING[design], sessions, rng, shuffles=shuffles)
        yield from (Level("se_slope", name, design, alpha, rejections(p, alpha)) for alpha in alphas)


def uniform_pit(sessions: int, rng: np.random.Generator) -> Iterator[Level]:
    cases = {"fixed weights, 2000 tokens": None, "dependent, 256 responses": 256, "dependent, 2048 responses": 2048}
    for design, responses in cases.items():
        p = simulate.uniform_pit(sessions, rng, responses=responses)
        yield from (Level("uniform_pit", "uniform ranks", design, alpha, rejections(p, alpha)) for alpha in ALPHAS)


def likelihood_ratio(sessions: int, rng: np.random.Generator) -> Iterator[Level]:
    p = simulate.likelihood_ratio(sessions, rng)
    for alpha in ALPHAS:
        yield Level("likelihood_ratio", "tokens of a fixed policy", "480 tokens, 3 others", alpha, rejections(p, alpha))


def uniform_p_values(sessions: int, rng: np.random.Generator) -> Iterator[Level]:
    step = 2 / 20  # of two-sided p-values from 19 shuffles
    for n in (50, 200):
        cases: tuple[tuple[Side, str], ...] = (
            ("too_small", "uniform"),
            ("too_small", "19 shuffles"),
            ("both", "19 shuffles"),
        )
        for side, kind in cases:
            seen = []
            for _ in range(sessions):
                p = rng.random(n) if kind == "uniform" else np.minimum(step * rng.integers(1, 11, n), 1.0)
                outcome = stats.check_uniform_p_values(p, alpha=0.5, side=side, resolution=step)
                seen.append(outcome.p_value)
            p_values, design = np.array(seen, dtype=float), f"n = {n}, {side}"
            yield from (
                Level("uniform_p_values", kind, design, alpha, rejections(p_values, alpha)) for alpha in ALPHAS[:3]
            )


GATE: CheckWords = {"name": "gate", "null": "nothing drifted", "unit": "nats", "likely_causes": ""}


def equivalent(sessions: int, rng: np.random.Generator) -> Iterator[Level]:
    """At a true difference equal to the margin: red at most alpha, green at most ``beta`` of the time."""
    for name in ("G=2 loo_difference", "G=8 slope_difference"):
        for sign in (1, -1):
            margin = 0.3 * simulate.spread(name)
            verdicts = []
            for _ in range(sessions):
                x = sign * simulate.draw(name, (480,), rng) + margin
                outcome = stats.check_equivalent(x, np.zeros(480), margin=margin, alpha=0.01, beta=0.05, **GATE)
                verdicts.append(outcome.verdict)
            design, seen = f"n = 480, {'right' if sign > 0 else 'left'} tail", np.array(verdicts)
            yield Level("equivalent: red at the margin", name, design, 0.01, rate(seen == "fail"))
            yield Level("equivalent: green at the margin", name, design, 0.05, rate(seen == "pass"))


# ---------------------------------------------------------------------- whole sessions


def sampled_checks(G: int, rng: np.random.Generator, count: int) -> np.ndarray:
    """p-values ``[count, 6]`` of a session's six checks that need no shuffling, at the demo's 15 x 32 prompts; the eta
    sweep's intercept is of the single run's 64, as heavy-tailed as the slopes of the sanity check."""
    table = simulate.recorded(G)
    rows = rng.integers(0, 4096, (count, 480))
    means = [stats.p_values_mean_zero(table[name][rows]) for name in ("score", "loo_difference", "slope_difference")]
    single = rng.integers(0, 4096, (count, 64))
    means.append(stats.p_values_mean_zero(table["slope_difference"][single]))
    tokens = [simulate.uniform_pit(count, rng, responses=480), simulate.likelihood_ratio(count, rng)]
    return np.stack([*means, *tokens], axis=1)


def cheap_sessions(G: int, budget: float, sessions: int, rng: np.random.Generator) -> Rate:
    """Sessions in which one of the six checks without shuffling rejects at its share of the budget."""
    share = stats.split_budget(budget, simulate.CHECKS)["score"]
    counts = [min(2000, sessions - done) for done in range(0, sessions, 2000)]
    return rate(np.concatenate([(sampled_checks(G, rng, count) < share).any(axis=1) for count in counts]))


def whole_sessions(G: int, budget: float, sessions: int, rng: np.random.Generator, *, shuffles: int | None) -> Rate:
    """Sessions of all nine checks, on scalars of the demo, in which any is red."""
    share = stats.split_budget(budget, simulate.CHECKS)["score"]
    red = np.asarray((sampled_checks(G, rng, sessions) < share).any(axis=1))
    name, sizes = f"G={G} s", SCALING["8,32,128 x 4"]
    # The true delta_h1, as large as the demo's: about two standard deviations of a scalar.
    a = -2 * simulate.spread(name)
    for number in range(sessions):
        s = simulate.runs_of(name, SANITY["15 x 32"], rng)
        delta, se = [x.mean() for x in s], [x.std(ddof=1) / len(x) ** 0.5 for x in s]
        calibration = stats.check_se_calibration(s, delta, se, scale=1.0, alpha=share, rng=rng, shuffles=shuffles)
        runs = simulate.scaling_runs(name, sizes, rng, a=a)
        fit = stats.fit_scaling(runs, bootstrap=2, rng=rng, alpha=share, shuffles=shuffles)
        slope = stats.check_se_slope(runs, alpha=share, rng=rng, shuffles=shuffles)
        outcomes = (calibration, stats.scaling_verdict(fit, alpha=share).outcome, slope)
        red[number] |= any(outcome.verdict == "fail" for outcome in outcomes)
    return rate(red)


# ---------------------------------------------------------------------- power


def power_of_mean_zero(n: int, alpha: float, sessions: int, rng: np.random.Generator) -> Iterator[Power]:
    for name in [*simulate.DEMO, "Gaussian", "t(4)", "lognormal(1)"]:
        effect = stats.min_discrepancy_mean_zero(simulate.sample(name), n, alpha=alpha)
        for shift in (effect, -effect):
            p = simulate.mean_zero(name, n, sessions, rng, shift=shift)
            yield Power("mean_zero", name, f"n = {n}", alpha, shift / simulate.spread(name), rejections(p, alpha))


def power_of_se_calibration(
    alpha: float, sessions: int, rng: np.random.Generator, *, shuffles: int | None
) -> Iterator[Power]:
    ratio = stats.min_discrepancy_se_calibration(15, alpha=alpha)
    for name in SCALARS_OF_RUNS:
        p = simulate.se_calibration(name, SANITY["15 x 32"], sessions, rng, shuffles=shuffles, ratio=ratio)
        yield Power("se_calibration", name, "15 x 32", alpha, ratio, rejections(p, alpha))


def power_of_scaling(
    design: str, alpha: float, sessions: int, rng: np.random.Generator, *, shuffles: int | None
) -> Iterator[Power]:
    sizes = SCALING[design]
    for name in SCALARS_OF_RUNS:
        b = stats.min_discrepancy_convergence(sizes, simulate.spread(name), alpha=alpha)
        for sign in (1, -1):
            fits = simulate.convergence(name, sizes, sessions, rng, shuffles=shuffles, b=sign * b)
            red = np.array([stats.scaling_verdict(fit, alpha=alpha).outcome.verdict == "fail" for fit in fits])
            effect = sign * b / simulate.spread(name)
            yield Power("convergence", name, design, alpha, effect, rate(red))
        step = stats.min_discrepancy_se_slope(sizes, alpha=alpha, scalars=simulate.sample(name))
        for power in (step, -step):
            p = simulate.se_slope(name, sizes, sessions, rng, shuffles=shuffles, power=power)
            yield Power("se_slope", name, design, alpha, power, rejections(p, alpha))


def power_of_the_others(sessions: int, rng: np.random.Generator) -> Iterator[Power]:
    weights = np.random.default_rng(5).lognormal(0, 1, 2000)
    shift = stats.min_discrepancy_uniform_pit(weights, alpha=SHARE)
    p = simulate.uniform_pit(sessions, rng, shift=shift)
    yield Power("uniform_pit", "shifted ranks", "2000 tokens", SHARE, shift, rejections(p, SHARE))

    effect = stats.min_discrepancy_uniform_p_values(200, alpha=0.01)
    # P(p <= x) = x^k has its largest gap, k^(k/(1-k)) - k^(1/(1-k)), at x = k^(1/(1-k)).
    grid = np.linspace(0.01, 0.99, 9801)
    k = grid[np.argmin(np.abs(grid ** (grid / (1 - grid)) - grid ** (1 / (1 - grid)) - effect))]
    outcomes = [stats.check_uniform_p_values(rng.random(200) ** (1 / k), alpha=0.01) for _ in range(sessions)]
    seen = rate(np.array([outcome.verdict == "fail" for outcome in outcomes]))
    yield Power("uniform_p_values", "p-values too small", "n = 200", 0.01, effect, seen)

    for name in ("G=2 loo_difference", "G=8 slope_difference", "Gaussian"):
        margin = stats.min_discrepancy_equivalent(simulate.sample(name), 480)
        x = simulate.draw(name, (sessions, 480), rng)
        verdicts = [stats.check_equivalent(row, np.zeros(480), margin=margin, alpha=1e-3, **GATE).verdict for row in x]
        seen = rate(np.array(verdicts) == "pass")
        yield Power("equivalent", name, "n = 480, beta 0.05", 0.05, margin / simulate.spread(name), seen)
