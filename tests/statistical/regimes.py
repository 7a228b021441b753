"""Whole sessions of correct probes in every regime that users have, each with all statistical checks at their shares of
the default budget; judged by test_regimes.py, tabulated by ``python -m benchmarks.measure_levels regimes``.

A session is a sanity check of 15 runs and a batch scaling of 9, with the score identity, estimator agreement,
first-order accuracy, the surprisal identity, sampler alternatives, SE calibration, convergence and SE slope.  The
permutation tests are made with all their shuffles where fewer leave open whether they reject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from pytest_entropy import stats
from pytest_entropy.probe.measure.u_statistic import UStatistic
from pytest_entropy.stats.mean import too_few_events
from pytest_entropy.stats.own_updates import with_own_errors
from tests.check_words import CheckWords
from tests.statistical import sessions as simulate
from tests.statistical.rates import Rate, rate

BUDGET = 1e-3
SHARE = simulate.SHARE
RUNS = 15
WORDS: CheckWords = {"name": "check", "null": "", "unit": "", "likely_causes": ""}


Law = Callable[[int, np.random.Generator], np.ndarray]
# Scalars of each run, and a number for each of its prompts.
Draw = Callable[[list[int], np.random.Generator], tuple[list[np.ndarray], list[np.ndarray]]]


@dataclass(frozen=True)
class Regime:
    """One kind of session.

    Attributes:
        name: in words.
        draw: maps (B_E of the runs, rng) to scalars and prompts of each run, of one set of prompts if there is one.
        sizes: B_E of the sanity check's runs, and of the batch scaling's.
        prompts: how many there are in the set that all runs draw from; None where they share none.
        means: maps (number of prompts, rng) to the scalars of the checks of means ``[3, n]``; none if there are no such
            checks.
        events: expected surprises of a prompt.
        single_batch: pseudo-values with an update of their own for each run.
    """

    name: str
    draw: Draw
    sizes: tuple[list[int], list[int]]
    prompts: int | None = None
    means: Law | None = None
    events: float = 10.0
    single_batch: bool = False


def apart(
    law: Law,
) -> Callable[..., tuple[list[np.ndarray], list[np.ndarray]]]:
    """Runs that share no prompt."""

    def draw(sizes: list[int], rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
        numbers = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        return [law(size, rng) for size in sizes], numbers

    return draw


def of_one_set(pool: int, between: float, law: str) -> Draw:
    """Runs that draw from ``pool`` prompts without replacement; ``between`` of the variance is the prompts' own."""

    def draw(sizes: list[int], rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
        own = simulate.draw(law, (pool,), rng)
        prompts = [rng.permutation(pool)[:size] for size in sizes]
        noise = [simulate.draw(law, (size,), rng) for size in sizes]
        return [between**0.5 * own[p] + (1 - between) ** 0.5 * x for p, x in zip(prompts, noise, strict=True)], prompts

    return draw


def demo_scalars(G: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """s_n of the demo."""
    return simulate.draw(f"G={G} s", (size,), rng)


def demo_means(G: int) -> Law:
    """Scores, estimator differences and slope differences of the demo, ``[3, n]``."""

    def means(n: int, rng: np.random.Generator) -> np.ndarray:
        table = simulate.recorded(G)
        rows = rng.integers(0, 4096, n)
        return np.stack([table[name][rows] for name in ("score", "loo_difference", "slope_difference")])

    return means


def per_token(size: int, rng: np.random.Generator) -> np.ndarray:
    """Pseudo-values of a ratio, sum of entropy terms over sum of lengths, by the delete-one jackknife; mean 0."""
    length = rng.lognormal(0, 0.5, size)
    a = length * (rng.lognormal(0, 0.5, size) - np.exp(0.125))
    whole, left_out = a.sum() / length.sum(), (a.sum() - a) / (length.sum() - length)
    pseudo: np.ndarray = size * whole - (size - 1) * left_out
    return pseudo


def pseudo_values(
    mean: float, size: int, dimensions: int, law: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pseudo-values of the U-statistic of one batch, by the jackknife and by the plug-in, ``[B]`` each.

    x_n and y_n are heavy-tailed, correlated, of ``mean`` along one axis and spread 1: the truth is the mean squared.
    """
    x = _standard(law, (size, dimensions), rng)
    y = 0.5 * x + 0.75**0.5 * _standard(law, (size, dimensions), rng)
    x[:, 0] += mean
    y[:, 0] += mean
    own = (x * y).sum(axis=1)
    rows = ((x @ y.sum(axis=0) + y @ x.sum(axis=0)) / 2 - own) / (size - 1)
    batch = UStatistic(size, rows, float(x.mean(axis=0) @ y.mean(axis=0)), float(own.mean()), 0.0)
    return batch.pseudo_values, batch.value + 2 * (rows - batch.value)


def _standard(law: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if law == "t(5)":
        drawn: np.ndarray = rng.standard_t(5, shape) / (5 / 3) ** 0.5
        return drawn
    return simulate.draw(law, shape, rng) / simulate.SPREADS[law]


def single(mean: float) -> Law:
    """Pseudo-values of the U-statistic of one batch, with t(5) tails in 8 dimensions."""
    return lambda size, rng: pseudo_values(mean, size, 8, "t(5)", rng)[0]


def coverage(law: str, mean: float, size: int, sessions: int, rng: np.random.Generator) -> tuple[Rate, Rate, Rate]:
    """How often the U-statistic's printed interval, 1.96 of its errors, and 1.96 of the plug-in's, hold the truth.

    Of the printed ones, among the sessions that have one.
    """
    held = np.zeros((sessions, 3), dtype=bool)
    given = np.zeros(sessions, dtype=bool)
    for session in range(sessions):
        s, plug_in = pseudo_values(mean, size, 2, law, rng)
        value, se, former = float(s.mean()), *(float(x.std(ddof=1)) / size**0.5 for x in (s, plug_in))
        ci = stats.Measurement(value, se, size, single_batch=True).with_skew_of(s.tolist()).ci(0.95)
        gap = abs(value - mean**2)
        given[session] = ci is not None
        held[session] = (ci is not None and ci[0] <= mean**2 <= ci[1], gap <= 1.96 * se, gap <= 1.96 * former)
    printed = Rate(int(held[given, 0].sum()), int(given.sum()))
    return printed, rate(held[:, 1]), rate(held[:, 2])


def surprises(kind: str, each: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Scalars ``[n]`` that surprises carry, ``each`` of them expected of a prompt on average over prompts; mean 0."""
    sizes: dict[str, tuple[Callable[[int], np.ndarray], float]] = {
        "equal sizes": (np.ones, 1.0),
        "lognormal(1) sizes": (lambda count: rng.lognormal(0, 1, count), float(np.exp(0.5))),
        "sizes of both signs": (lambda count: rng.lognormal(0, 1, count) * rng.choice([-1.0, 1.0], count), 0.0),
    }
    law, mean = sizes[kind]
    chance = each * rng.lognormal(-0.125, 0.5, n)
    count = rng.poisson(chance)
    x: np.ndarray = np.bincount(np.repeat(np.arange(n), count), law(int(count.sum())), minlength=n) - mean * chance
    return x


def surprised(each: float) -> Law:
    """Three such scalars of each prompt, ``[3, n]``."""
    kinds = ("equal sizes", "lognormal(1) sizes", "sizes of both signs")
    return lambda n, rng: np.stack([surprises(kind, each, n, rng) for kind in kinds])


def regimes() -> Iterator[Regime]:
    """All of them."""
    for pool in (40, 100, 288, 1000):
        for between in (0.0, 0.5, 0.95):
            yield Regime(
                f"{pool} prompts, {between:.0%} between them", of_one_set(pool, between, "lognormal(1)"),
                ([32] * RUNS, [8] * 3 + [16] * 3 + [32] * 3), pool, demo_means(8),
            )  # fmt: skip
    for between in (0.0, 0.5, 0.95):
        yield Regime(
            f"40 prompts, all in every run, {between:.0%} between them", of_one_set(40, between, "lognormal(1)"),
            ([40] * RUNS, [10] * 3 + [20] * 3 + [40] * 3), 40, demo_means(8),
        )  # fmt: skip
    for total in (100.0, 5.0, 1.0, 0.1, 0.0):
        each = total / (32 * RUNS)
        yield Regime(
            f"collapsed, {total:g} surprises expected",
            apart(partial(surprises, "lognormal(1) sizes", each)),
            ([32] * RUNS, [8] * 3 + [32] * 3 + [128] * 3), means=surprised(each), events=each,
        )  # fmt: skip
    for G in (2, 8):
        for sizes in ([2] * 3 + [4] * 3 + [8] * 3, [8] * 3 + [32] * 3 + [128] * 3):
            few = min(sizes)
            yield Regime(
                f"G = {G}, B_E {few} to {max(sizes)}",
                apart(partial(demo_scalars, G)), ([few] * RUNS, sizes),
                means=demo_means(G),
            )  # fmt: skip
    for size in (4, 8, 16, 32, 128):
        for mean in (0.0, 1.0):
            yield Regime(
                f"u_statistic, B {size}, {'no change' if mean == 0 else 'a change'}", apart(single(mean)),
                ([size] * RUNS, [size] * 3 + [2 * size] * 3 + [4 * size] * 3), single_batch=True,
            )  # fmt: skip
    yield Regime(
        "token unit, B_E 8 to 128", apart(per_token), ([32] * RUNS, [8] * 3 + [32] * 3 + [128] * 3), means=demo_means(8)
    )


def red_checks(regime: Regime, rng: np.random.Generator) -> list[str]:
    """The checks of one session that failed."""
    red = []
    if regime.means is not None:
        n = sum(regime.sizes[0])
        few = too_few_events(regime.events * n, n)
        # A sample without spread has no p-value: its mean is not 0 and fails, unless nothing moved.
        x = regime.means(n, rng)
        p = stats.p_values_mean_zero(x)
        red += ["a mean"] if not few and (~(p >= SHARE) & x.any(axis=1)).any() else []
        tokens = [simulate.uniform_pit(1, rng, responses=max(8, n)), simulate.likelihood_ratio(1, rng)]
        red += [name for name, p in zip(("ranks", "alternatives"), tokens, strict=True) if p[0] < SHARE]
    red += _of_runs(regime, rng)
    return red


# (shuffles, the p-value above which they suffice): a test that rejects at a share of 1.1e-4 is above the first with a
# probability below 1e-9, and so on; the last stage is the check as it is run.
STAGES = ((199, 0.06), (3999, 5e-3), (None, 1.0))


def fails(judge: Callable[[int | None], stats.CheckOutcome]) -> bool:
    """Whether the check fails with all its shuffles, which are made only where fewer leave that open."""
    for shuffles, settled in STAGES:
        outcome = judge(shuffles)
        if outcome.p_value is None or outcome.p_value > settled:
            return False
    return outcome.verdict == "fail"


def _of_runs(regime: Regime, rng: np.random.Generator) -> list[str]:
    equal, several = regime.sizes
    s, prompts = regime.draw(equal, rng)
    delta, se = [float(x.mean()) for x in s], [float(x.std(ddof=1)) / len(x) ** 0.5 for x in s]
    numbers = [p.tolist() for p in prompts]
    fraction = equal[0] / regime.prompts if regime.prompts else 0.0

    def calibration(shuffles: int | None) -> stats.CheckOutcome:
        return stats.check_se_calibration(
            s, delta, se, scale=1.0, alpha=SHARE, rng=rng, sampling_fraction=fraction,
            prompts=numbers, upper_bounds=regime.single_batch, shuffles=shuffles,
        )  # fmt: skip

    runs = [stats.RunScalars(len(x), r, x, 1.0) for r, x in enumerate(regime.draw(several, rng)[0])]

    def convergence(shuffles: int | None) -> stats.CheckOutcome:
        fit = stats.fit_scaling(runs, bootstrap=2, rng=rng, alpha=SHARE, shuffles=shuffles)
        fit = with_own_errors(fit, runs) if regime.single_batch else fit
        return stats.scaling_verdict(fit, alpha=SHARE).outcome

    def slope(shuffles: int | None) -> stats.CheckOutcome:
        return stats.check_se_slope(runs, alpha=SHARE, rng=rng, shuffles=shuffles)

    judged = {"SE calibration": calibration, "convergence": convergence}
    if not regime.single_batch:
        judged["SE slope"] = slope
    return [name for name, judge in judged.items() if fails(judge)]


def red_sessions(regime: Regime, sessions: int, rng: np.random.Generator) -> tuple[Rate, set[str]]:
    """(rate of sessions with a failed check, the checks that failed)."""
    found = [red_checks(regime, rng) for _ in range(sessions)]
    return rate(np.array([bool(red) for red in found])), {name for red in found for name in red}
