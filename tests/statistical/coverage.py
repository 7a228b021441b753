"""Coverage of every interval that is printed, drawn or stored, over simulated sessions of known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np

from pytest_entropy import stats
from pytest_entropy.checks.summaries.sweep_fit import SweepFit, second_order_share
from pytest_entropy.probe.variance.total import TotalVariance, combine
from pytest_entropy.records.item import ItemReport
from pytest_entropy.settings.target_error import allowed_error
from pytest_entropy.stats import Measurement, pool
from pytest_entropy.stats.guarded_t import interval, moments
from pytest_entropy.stats.intervals import PromptPool, interval_of_mean
from pytest_entropy.stats.permutation import run_moments
from pytest_entropy.stats.target_error import ErrorAfter, runs_needed
from tests.check_words import CheckWords
from tests.present import present
from tests.statistical import enumerated_batches
from tests.statistical import sessions as simulate
from tests.statistical.enumerated_batches import sample, table
from tests.statistical.rates import Rate, rate

# What is said of a quantity's interval: it covers 95 %, at least 95 %, or nothing is said and nothing asserted.
Promise = Literal["95 ± 1.5 %", "95 ± 2 %", "at least 95 %", "none"]
EXACT: Promise = "95 ± 1.5 %"
NEAR: Promise = "95 ± 2 %"
BOUND: Promise = "at least 95 %"
NO_PROMISE: Promise = "none"
TOLERANCE = 0.015
POPULATIONS = ("G=8 s", "G=2 s", "Gaussian", "lognormal(1)")
SLOPES = ("G=8 slope_difference", "G=2 slope_difference")
DESIGNS = {"8 x 15": [8] * 15, **simulate.SCALING}
# Step of the demo's sweep, in units of eta.
SWEEP_STEP = 2e-4
WORDS: CheckWords = {"name": "surprisal", "null": "uniform", "unit": "sd", "likely_causes": ""}


@dataclass(frozen=True)
class Coverage:
    """How often an interval held the truth."""

    quantity: str
    population: str
    design: str
    seen: Rate
    promise: Promise = EXACT


def covered(ends: tuple[float, float] | None, truth: float) -> bool:
    low, high = present(ends)
    return low <= truth <= high


def repeated(session: Callable[[], bool], sessions: int) -> Rate:
    return rate(np.array([session() for _ in range(sessions)]))


def lone_run(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """A run's delta_h1 by itself, as the headline has it; the sweep's points and intercept are such means, too."""
    for population in (*POPULATIONS, *SLOPES):
        for B_E in (32, 128):
            scalars = simulate.draw(population, (sessions, B_E), rng)
            hits = [covered(interval_of_mean(x, confidence=0.95), 0.0) for x in scalars]
            yield Coverage("δH₁ of a run alone", population, f"B_E {B_E}", rate(np.array(hits)))


def run_among_others(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """A run's delta_h1 with the other runs of its experiment, as the figure against B_E draws it."""
    for design, sizes in DESIGNS.items():
        for population in POPULATIONS:
            held: dict[int, list[bool]] = {size: [] for size in sorted(set(sizes))}
            for _ in range(sessions):
                s = np.split(simulate.draw(population, (sum(sizes),), rng), np.cumsum(sizes)[:-1])
                together = PromptPool.of(s)
                # One run of each size: those of one session are dependent.
                for size, hits in held.items():
                    value = float(s[sizes.index(size)].mean())
                    ends = together.sum_interval(value, np.ones(1), np.array([size]), confidence=0.95)
                    hits.append(covered(ends, 0.0))
            for size, hits in held.items():
                yield Coverage("δH₁ of a run among others", population, f"B_E {size} of {design}", rate(np.array(hits)))


def mean_over_runs(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """The mean of many runs of one B_E, as the figure draws them where there are too many."""
    for population in POPULATIONS:
        for B_E, runs in ((8, 128), (32, 64)):

            def session(population: str = population, B_E: int = B_E, runs: int = runs) -> bool:
                means, squares = run_moments(simulate.draw(population, (1, runs * B_E), rng), np.full(runs, B_E))
                each = [Measurement(m, v**0.5, B_E) for m, v in zip(means[0], squares[0], strict=True)]
                return covered(pool(each).ci(0.95), 0.0)

            few = max(200, sessions // 4)
            yield Coverage("mean δH₁ of runs", population, f"B_E {B_E} x {runs}", repeated(session, few))


# Error that is asked for, in that of a mean over 256 prompts: the pilot reaches none of them as a rule.
ASKED = (0.8, 0.5)
MOST_RUNS = 200


def until_target(
    sessions: int, rng: np.random.Generator, share: float = 0.1, sign: int = -1
) -> Iterator[tuple[Coverage, float]]:
    """The mean of runs that are taken until its error is small enough, and the mean of |value| over the truth.

    Args:
        sessions: of each design.
        rng: of everything.
        share: of |delta_h1|, where the target is one.
        sign: of delta_h1 there.
    """
    for population in ("G=8 s", "G=2 s", "Gaussian"):
        for B_E in (64, 256):
            for asked in ASKED:
                se = asked * simulate.spread(population) / 16
                for target, truth in ((f"{se}", 0.0), (f"{100 * share}%", sign * se / share)):
                    ends = [taken(population, B_E, target, truth, rng) for _ in range(sessions)]
                    hits = np.array([covered(mean.ci(0.95), truth) for mean in ends])
                    kind = f"{100 * share:g}%" if truth else "absolute"
                    design = f"B_E {B_E}, {kind}, {asked:g} of the error of 256"
                    row = Coverage("mean δH₁ of runs to a target", population, design, rate(hits), NEAR)
                    yield row, float(np.mean([mean.value - truth for mean in ends])) * sign / se


def taken(population: str, B_E: int, target: str, truth: float, rng: np.random.Generator) -> Measurement:
    """The mean of the runs that a target takes."""
    runs: list[Measurement] = []

    def after(number: int) -> ErrorAfter:
        while len(runs) < number:
            s = simulate.draw(population, (B_E,), rng) + truth
            runs.append(Measurement(float(s.mean()), float(s.std(ddof=1)) / B_E**0.5, B_E).with_skew_of(s.tolist()))
        mean = pool(runs)
        return ErrorAfter(present(mean.se), allowed_error(target, mean.value), 0.0)

    needed = runs_needed(after, B_E, most=MOST_RUNS)
    after(needed)
    return pool(runs[:needed])


def scaling_fit(sessions: int, resamples: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """a and b of a + b / B_E; with ``resamples`` by the bootstrap that is stored beside them."""
    for design, sizes in simulate.SCALING.items():
        for population in POPULATIONS:
            a, b = 0.3 * simulate.spread(population), 2.0 * simulate.spread(population)
            fits = [
                stats.fit_scaling(
                    simulate.scaling_runs(population, sizes, rng, a=a, b=b), bootstrap=max(2, resamples), rng=rng,
                    shuffles=1,
                )
                for _ in range(sessions)
            ]  # fmt: skip
            kind = "bootstrap-t of " if resamples else ""
            for name, truth in (("a", a), ("b", b)):
                field = f"bootstrap_t_ci_{name}" if resamples else f"ci_{name}"
                hits = [covered(getattr(fit, field), truth) for fit in fits]
                yield Coverage(f"{kind}{name} of a + b/B_E", population, design, rate(np.array(hits)))


# (dimensions, length of the mean of x, of the mean of y), and what is promised: where the interaction T is a large part
# the error is too large, since the unbiased estimate is then often below its parts and one of these stands in for it.
DIRECTIONS: dict[str, tuple[int, float, float, Promise]] = {
    "A, B": (50, 4.0, 4.0, EXACT),
    "B": (50, 30.0, 5.0, EXACT),
    "A, B, T": (50, 1.25, 1.25, BOUND),
    "T": (50, 0.0, 0.0, BOUND),
    # With so few directions scalars keep the skewness of their parts, which the update's part does not record.
    "A, B, T of 5 directions": (5, 0.4, 0.4, NO_PROMISE),
}


def over_updates(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """delta_h1 over update batches, x_n and y_p independent vectors; T from the halves of E, as the probe has it."""
    for population in ("Gaussian", "lognormal(1)"):
        scale = simulate.spread(population)
        for case, (size, mean_x, mean_y, promise) in DIRECTIONS.items():
            for B_E, B_U in ((32, 32), (128, 32)):

                def session(
                    population: str = population, scale: float = scale, size: int = size, mean_x: float = mean_x,
                    mean_y: float = mean_y, B_E: int = B_E, B_U: int = B_U,
                ) -> bool:  # fmt: skip
                    x = simulate.draw(population, (B_E, size), rng) / scale + mean_x / size**0.5
                    y = simulate.draw(population, (B_U, size), rng) / scale + mean_y / size**0.5
                    s = x @ y.mean(0)
                    parts = combine(s, y @ np.stack([x[::2].mean(0), x[1::2].mean(0)], axis=1), eta=1.0)
                    whole = over_update_batches(s, parts, B_U)
                    return covered(whole.ci_total(0.95), mean_x * mean_y)

                design = f"{case}, B_E {B_E}, B_U {B_U}"
                yield Coverage("δH₁ over update batches", population, design, repeated(session, sessions), promise)


def over_update_batches(s: np.ndarray, parts: TotalVariance, B_U: int) -> Measurement:
    """A run's measurement with what its intervals over update batches depend on, as its conclusion has it."""
    record = ItemReport(
        B_E=len(s), delta_h1=float(s.mean()), se_conditional=parts.entropy_batch**0.5, variance_total=parts.total,
        se_total=parts.se,
    )  # fmt: skip
    skew = present(parts.update_skewness)
    return replace(Measurement.of(record), update_prompts=B_U, update_error=parts.standard_error, update_skew=skew)


# (B_E, B_U, G) of sessions on the enumerable policy; the exact gradient of its objective is known for G = 2.
SESSIONS = ((64, 32, 2), (32, 32, 2), (128, 32, 2), (64, 64, 2))
AT_ONCE = 100


def enumerable_sessions(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """The next step's delta_h1 along a fresh update batch, and the drift, the exact mean over update batches."""
    gradients = table().gradients
    exact = enumerated_batches.moments()
    mean_x, mean_y = exact.mean_x @ gradients, -(exact.mean_g @ gradients)
    for B_E, B_U, G in SESSIONS:
        drift, following = [], []
        for _ in range(0, sessions, AT_ONCE):
            x = (sample(AT_ONCE * B_E, G, rng).entropy_parts() @ gradients).reshape(AT_ONCE, B_E, -1)
            y, fresh = (
                -(sample(AT_ONCE * B_U, G, rng).update_parts(batches=AT_ONCE)[0] @ gradients).reshape(AT_ONCE, B_U, -1)
                for _ in range(2)
            )
            for own, update, other in zip(x, y, fresh, strict=True):
                s = own @ update.mean(0)
                parts = combine(s, update @ np.stack([own[::2].mean(0), own[1::2].mean(0)], axis=1), eta=1.0)
                one = over_update_batches(s, parts, B_U).with_skew_of(s)
                drift.append(covered(one.ci_total(0.95), float(mean_x @ mean_y)))
                following.append(covered(one.ci_next_step(0.95), float(mean_x @ other.mean(0))))
        for quantity, hits in (("δH₁ of the next step", following), ("drift per step", drift)):
            yield Coverage(quantity, "enumerable policy", f"B_E {B_E}, B_U {B_U}, G {G}", rate(np.array(hits)), NEAR)


@cache
def swept(G: int) -> tuple[np.ndarray, np.ndarray]:
    """(slope at step 0, second derivative) of the demo's entropy by prompt, ``[2048]`` each."""
    with np.load(simulate.SCALARS / f"sweep_g{G}.npz") as file:
        return file["slope"].astype(float), file["second_derivative"].astype(float)


def eta_sweep(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """The sweep's points and intercept, and its range of the second-order share, which promises nothing."""
    for G in (8, 2):
        slope, curvature = swept(G)
        share = abs(curvature.mean() * SWEEP_STEP / 2 / slope.mean())
        for B_E in (32, 64, 128):
            chosen = rng.integers(0, len(slope), (sessions, B_E))
            for name, values in (("intercept", slope), ("point at 2 η", slope + curvature * SWEEP_STEP)):
                hits = [covered(interval_of_mean(values[c], confidence=0.95), float(values.mean())) for c in chosen]
                yield Coverage(f"η sweep, {name}", f"G={G} sweep", f"B_E {B_E}", rate(np.array(hits)))
            held, plain = [], []
            for c in chosen:
                fitted = SweepFit(slope[c], curvature[c] / 2, np.array([SWEEP_STEP]))
                low, _, high = second_order_share(fitted, SWEEP_STEP, confidence=0.95)
                held.append(low <= share <= (np.inf if high is None else high))
                plain.append(covered(interval_of_mean(curvature[c], confidence=0.95), float(curvature.mean())))
            design = f"B_E {B_E}"
            yield Coverage("η sweep, range of η* and share", f"G={G} sweep", design, rate(np.array(held)), NO_PROMISE)
            yield Coverage("η sweep, delta_h2 (not given)", f"G={G} sweep", design, rate(np.array(plain)), NO_PROMISE)


def checks(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """The checks' intervals, which invert their tests; of the gate's differences as well."""
    for population in (*POPULATIONS, *SLOPES):
        for n in (32, 128, 480):
            mean, se, _, skew = moments(simulate.draw(population, (sessions, n), rng))
            rows = zip(mean, se, skew, strict=True)
            hits = [covered(interval(*row, n, confidence=0.95), 0.0) for row in rows]
            yield Coverage("a check's mean or difference", population, f"n = {n}", rate(np.array(hits)), BOUND)
    fixed = np.random.default_rng(5).lognormal(0, 1, 500)
    ends = (stats.check_uniform_pit(rng.random(500), fixed, alpha=0.5, **WORDS).ci for _ in range(sessions))
    yield Coverage("surprisal identity", "uniform ranks", "500 tokens", rate(np.array([covered(e, 0.0) for e in ends])))


def shuffled(sessions: int, rng: np.random.Generator) -> Iterator[Coverage]:
    """Intervals by shuffling: SE calibration's ratio, and the distance of the SE's slope from -1/2."""
    for population in POPULATIONS:

        def calibration(population: str = population) -> bool:
            s = simulate.runs_of(population, [32] * 15, rng)
            delta, se = [float(x.mean()) for x in s], [float(x.std(ddof=1)) / len(x) ** 0.5 for x in s]
            outcome = stats.check_se_calibration(s, delta, se, scale=1.0, alpha=0.5, rng=rng, shuffles=199)
            return covered(outcome.ci, 1.0)

        def slope(population: str = population) -> bool:
            runs = simulate.scaling_runs(population, [8] * 4 + [32] * 4 + [128] * 4, rng)
            return covered(stats.check_se_slope(runs, alpha=0.5, rng=rng, shuffles=199).ci, 0.0)

        yield Coverage("SE calibration", population, "15 x 32", repeated(calibration, sessions))
        yield Coverage("SE slope", population, "8,32,128 x 4", repeated(slope, sessions))
