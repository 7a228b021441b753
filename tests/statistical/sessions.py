"""Simulated correct sessions: per-prompt scalars resampled from the demo's records and drawn from heavy-tailed laws.

Every population is centred, so that each null hypothesis is true by construction.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from pytest_entropy import stats
from tests.check_words import CheckWords

SCALARS = Path(__file__).parent / "scalars"
DEMO = [f"{file} {name}" for file in ("G=8", "G=2") for name in ("s", "score", "loo_difference", "slope_difference")]
# s with companion reads.
DEMO.append("G=8 reads")
LAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "Gaussian": lambda rng, shape: rng.normal(size=shape),
    "t(4)": lambda rng, shape: rng.standard_t(4, shape),
    "lognormal(1)": lambda rng, shape: rng.lognormal(0, 1, shape) - np.exp(0.5),
    "product of two exponentials": lambda rng, shape: rng.exponential(size=shape) * rng.exponential(size=shape) - 1,
    "1 % spikes": lambda rng, shape: 10.0 * (rng.random(shape) < 0.01) - 0.1 + 0.3 * rng.normal(size=shape),
}

SANITY = {"15 x 32": [32] * 15, "15 x 256": [256] * 15}
SCALING = {"8,32,128 x 4": [8] * 4 + [32] * 4 + [128] * 4, "16,32,64 x 3": [16] * 3 + [32] * 3 + [64] * 3}
# Statistical items of a demo session, and each one's share of the default budget.
CHECKS = [
    "score", "surprisal", "alternatives", "agreement", "first order", "calibration", "convergence", "se slope",
    "eta sweep",
]  # fmt: skip
SHARE = min(stats.split_budget(1e-3, CHECKS).values())
ALPHAS = (0.05, 0.01, 1e-3, SHARE)


@cache
def recorded(G: int) -> dict[str, np.ndarray]:
    """The demo's scalars by name, ``[4096]`` each, one row per prompt; centred."""
    with np.load(SCALARS / f"demo_g{G}.npz") as file:
        names = ("s", "score", "loo_difference", "slope_difference")
        columns = {name: file[name].astype(float) for name in names}
    with_reads = SCALARS / f"reads_g{G}.npz"
    if with_reads.is_file():
        with np.load(with_reads) as file:
            columns["reads"] = file["s"].astype(float)
    return {name: column - column.mean() for name, column in columns.items()}


@cache
def population(name: str) -> np.ndarray:
    """One of :data:`DEMO`."""
    group, scalar = name.split(" ")
    return recorded(int(group.removeprefix("G=")))[scalar]


def draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Independent scalars of mean 0."""
    if name in LAWS:
        return LAWS[name](rng, shape)
    values = population(name)
    return values[rng.integers(0, len(values), shape)]


@cache
def moments(name: str) -> tuple[float, float, float]:
    """(standard deviation, skewness, kurtosis) of a population; a law's are those of a million draws."""
    x = population(name) if name in DEMO else draw(name, (1_000_000,), np.random.default_rng(0))
    z = (x - x.mean()) / x.std()
    return float(x.std()), float((z**3).mean()), float((z**4).mean())


@cache
def sample(name: str) -> np.ndarray:
    """A population, or 20 000 draws from a law."""
    return population(name) if name in DEMO else draw(name, (20_000,), np.random.default_rng(0))


def spread(name: str) -> float:
    """Standard deviation of a population."""
    return moments(name)[0]


# ---------------------------------------------------------------------- p-values of many sessions


def mean_zero(name: str, n: int, sessions: int, rng: np.random.Generator, *, shift: float = 0.0) -> np.ndarray:
    """p-values of :func:`stats.check_mean_zero` on n prompts, ``[sessions]``."""
    most = max(1, 4_000_000 // n)
    counts = [min(most, sessions - done) for done in range(0, sessions, most)]
    return np.concatenate([stats.p_values_mean_zero(draw(name, (count, n), rng) + shift) for count in counts])


def se_calibration(
    name: str, sizes: list[int], sessions: int, rng: np.random.Generator, *, shuffles: int | None, ratio: float = 1.0
) -> np.ndarray:
    """p-values of :func:`stats.check_se_calibration`; prompts of a run share noise so that spread / SE = ratio."""

    def session() -> float:
        s = runs_of(name, sizes, rng, ratio)
        delta = [float(x.mean()) for x in s]
        se = [float(x.std(ddof=1)) / len(x) ** 0.5 for x in s]
        outcome = stats.check_se_calibration(s, delta, se, scale=1.0, alpha=0.5, rng=rng, shuffles=shuffles)
        assert outcome.p_value is not None
        return outcome.p_value

    return np.array([session() for _ in range(sessions)])


def runs_of(name: str, sizes: list[int], rng: np.random.Generator, ratio: float = 1.0) -> list[np.ndarray]:
    """Scalars of each run; with ``ratio`` above 1 the runs' means spread that much more than their SE says."""
    s = np.split(draw(name, (sum(sizes),), rng), np.cumsum(sizes)[:-1])
    sd = spread(name)
    common = [sd * ((ratio**2 - 1) / size) ** 0.5 * rng.normal() for size in sizes]
    return [x + shift for x, shift in zip(s, common, strict=True)]


# ---------------------------------------------------------------------- small sets of prompts, collapsed policies

# (prompts that E may draw, B_E, runs): every prompt in every run, nearly so, and where sharing begins not to matter.
SHARED = {"32 of 32 x 15": (32, 32, 15), "32 of 40 x 15": (40, 32, 15), "32 of 320 x 15": (320, 32, 15),
          "256 of 288 x 15": (288, 256, 15)}  # fmt: skip
SPREADS = {"Gaussian": 1.0, "lognormal(1)": float(np.sqrt(np.expm1(1.0) * np.e))}


def shared_runs(name: str, design: str, between: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Scalars of runs that draw from one set of prompts, ``between`` of whose variance is the prompts' own."""
    pool, count, runs = SHARED[design]
    own = draw(name, (pool,), rng)
    noise = draw(name, (runs, count), rng)
    return [between**0.5 * own[rng.permutation(pool)[:count]] + (1 - between) ** 0.5 * row for row in noise]


def shared_calibration(
    name: str, design: str, between: float, sessions: int, rng: np.random.Generator, *, shuffles: int, told: bool = True
) -> np.ndarray:
    """p-values of :func:`stats.check_se_calibration` on such runs; ``told`` what share of the set each draws."""
    pool, count, _ = SHARED[design]
    fraction = count / pool if told else 0.0

    def session() -> float:
        s = shared_runs(name, design, between, rng)
        delta, se = [float(x.mean()) for x in s], [float(x.std(ddof=1)) / len(x) ** 0.5 for x in s]
        outcome = stats.check_se_calibration(
            s, delta, se, scale=1.0, alpha=0.5, rng=rng, shuffles=shuffles, sampling_fraction=fraction
        )
        assert outcome.p_value is not None
        return outcome.p_value

    return np.array([session() for _ in range(sessions)])


def surprising(name: str, expected: float, n: int, sessions: int, rng: np.random.Generator) -> np.ndarray:
    """``[sessions, n]`` scalars of a policy that has collapsed: Poisson many surprises a prompt, ``expected`` of them
    in all, of sizes from the law ``name``, and what they add on average is taken off, prompt by prompt."""
    sizes: dict[str, tuple[Callable[[int], np.ndarray], float]] = {
        "equal sizes": (lambda count: np.ones(count), 1.0),
        "lognormal(1) sizes": (lambda count: rng.lognormal(0, 1, count), float(np.exp(0.5))),
        "sizes of both signs": (lambda count: rng.lognormal(0, 1, count) * rng.choice([-1.0, 1.0], count), 0.0),
    }
    law, mean = sizes[name]
    chance = rng.lognormal(0, 0.5, (sessions, n))
    chance *= expected / chance.sum(axis=1, keepdims=True)
    count = rng.poisson(chance)
    x = -mean * chance
    rows, columns = np.repeat(np.nonzero(count), count[count > 0], axis=1)
    np.add.at(x, (rows, columns), law(len(rows)))
    return x


COLLAPSED = ("0.2", "0.25", "0.3")


@cache
def collapsed(temperature: str) -> tuple[dict[str, np.ndarray], float]:
    """(the demo's scalars at a low temperature by name, centred; surprises to be expected of a prompt)."""
    with np.load(SCALARS / f"demo_t{temperature}.npz") as file:
        names = ("score", "loo_difference", "slope_difference")
        scalars = {name: file[name].astype(float) - file[name].astype(float).mean() for name in names}
        about = json.loads(str(file["about"]))
    return scalars, about["expected_surprises"] / len(scalars["score"])


def scaling_runs(
    name: str, sizes: list[int], rng: np.random.Generator, *, a: float = 0.0, b: float = 0.0, power: float = 0.0
) -> list[stats.RunScalars]:
    """Runs of mean a + b / B_E, whose scalars are multiplied by B_E ** power."""
    s = np.split(draw(name, (sum(sizes),), rng), np.cumsum(sizes)[:-1])
    rows = enumerate(zip(s, sizes, strict=True))
    return [stats.RunScalars(size, r, (x + a + b / size) * size**power, 1.0) for r, (x, size) in rows]


def convergence(
    name: str, sizes: list[int], sessions: int, rng: np.random.Generator, *, shuffles: int | None, **truth: float
) -> list[stats.ScalingFit]:
    """The fits of many sessions; their p_b is the check's p-value."""
    return [
        stats.fit_scaling(scaling_runs(name, sizes, rng, **truth), bootstrap=2, rng=rng, shuffles=shuffles)
        for _ in range(sessions)
    ]


def se_slope(
    name: str, sizes: list[int], sessions: int, rng: np.random.Generator, *, shuffles: int | None, power: float = 0.0
) -> np.ndarray:
    """p-values of :func:`stats.check_se_slope`; ``power`` is the true distance of the slope from -1/2."""
    runs = (scaling_runs(name, sizes, rng, power=power) for _ in range(sessions))
    outcomes = (stats.check_se_slope(r, alpha=0.5, rng=rng, shuffles=shuffles) for r in runs)
    return np.array([outcome.p_value for outcome in outcomes], dtype=float)


PIT: CheckWords = {"name": "surprisal", "null": "uniform", "unit": "sd", "likely_causes": ""}


def ranks(responses: int, rng: np.random.Generator, *, steps: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """(ranks, weights) of a policy whose past decides everything: a surprising token doubles the next weight, and
    responses end after a token of high rank, or at ``steps``."""
    u = rng.random((responses, steps))
    weights = np.ones((responses, steps))
    weights[:, 1:] = np.where(u[:, :-1] > 0.5, 2.0, 0.3)
    ended = np.cumsum(u > 0.75, axis=1) - (u > 0.75) > 0
    return u[~ended], weights[~ended]


def uniform_pit(
    sessions: int, rng: np.random.Generator, *, responses: int | None = None, tokens: int = 2000, shift: float = 0.0
) -> np.ndarray:
    """p-values of :func:`stats.check_uniform_pit`: of dependent responses, or of tokens with fixed weights."""
    from scipy.special import ndtr, ndtri

    fixed = np.random.default_rng(5).lognormal(0, 1, tokens)
    out = []
    for _ in range(sessions):
        u, w = (rng.random(tokens), fixed) if responses is None else ranks(responses, rng)
        u = ndtr(ndtri(u) + shift) if shift else u
        out.append(stats.check_uniform_pit(u, w, alpha=0.5, **PIT).p_value)
    return np.array(out, dtype=float)


def likelihood_ratio(sessions: int, rng: np.random.Generator, *, tokens: int = 480) -> np.ndarray:
    """p-values of :func:`stats.check_likelihood_ratio` on tokens of a fixed policy of 8 tokens, against other
    temperatures and a truncation."""
    logits = np.random.default_rng(6).normal(0, 1.5, (tokens, 8))

    def log_softmax(x: np.ndarray) -> np.ndarray:
        log_p: np.ndarray = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
        return log_p

    null = log_softmax(logits)
    topmost = np.where(logits >= np.sort(logits, axis=1)[:, 1:2], logits, -np.inf)
    others = {
        "T = 0.9": log_softmax(logits / 0.9),
        "T = 1.02": log_softmax(logits / 1.02),
        "top 7": log_softmax(topmost),
    }
    expected = {name: float((np.exp(q) * np.where(q > -np.inf, q - null, 0.0)).sum()) for name, q in others.items()}
    steps, out = np.arange(tokens), []
    for _ in range(sessions):
        drawn = (null + rng.gumbel(size=null.shape)).argmax(axis=1)
        ratios = {name: float((q[steps, drawn] - null[steps, drawn]).sum()) for name, q in others.items()}
        outcome = stats.check_likelihood_ratio(
            ratios, expected, alpha=0.5, name="alternatives", null="", likely_causes="", n=tokens
        )
        out.append(outcome.p_value)
    return np.array(out, dtype=float)
