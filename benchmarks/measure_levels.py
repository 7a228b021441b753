"""Measures the tables of docs/statistics.md: levels of every check, of rival tests that failed, of sessions; power.

    python -m benchmarks.measure_levels rivals --sessions 100000
    python -m benchmarks.measure_levels levels sessions power
    python -m benchmarks.measure_levels regimes coverage --sessions 2000

Each part prints a Markdown table; rates come with 95 % Clopper-Pearson intervals.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable

import numpy as np
from scipy import stats as scipy_stats

from pytest_entropy import stats
from pytest_entropy.stats.guarded_t import moments
from tests.statistical import levels
from tests.statistical import regimes as every
from tests.statistical import sessions as simulate
from tests.statistical.rates import Rate, rejections, table
from tests.statistical.sessions import ALPHAS, SHARE

COARSE = (0.05, 0.01)


def plain_t(x: np.ndarray) -> np.ndarray:
    """p-values of Student's t on rows ``[sessions, n]``."""
    return np.asarray(2 * scipy_stats.t.sf(np.abs(moments(x)[2]), x.shape[1] - 1))


def hall(x: np.ndarray) -> np.ndarray:
    """p-values of Hall's skewness-corrected t, as published."""
    n = x.shape[1]
    _, _, t, skew = moments(x)
    u = t / np.sqrt(n)
    corrected = np.sqrt(n) * (u + skew * u**2 / 3 + skew**2 * u**3 / 27 + skew / (6 * n))
    return np.asarray(2 * scipy_stats.t.sf(np.abs(corrected), n - 1))


def larger_of_both(x: np.ndarray) -> np.ndarray:
    larger: np.ndarray = np.maximum(plain_t(x), hall(x))
    return larger


RIVALS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain t": plain_t,
    "Hall": hall,
    "larger of both": larger_of_both,
    "guarded": stats.p_values_mean_zero,
}


def rivals(sessions: int, rng: np.random.Generator) -> None:
    """The guarded test beside what was tried before it, on the same draws, at 1e-3 and at a check's share."""
    header = ["n", "population", *(f"{name}, α = {alpha:.3g}" for alpha in ALPHAS[2:] for name in RIVALS)]
    for n, count in ((60, sessions), (120, sessions), (480, sessions), (3840, max(2000, sessions // 5))):
        rows = []
        for name in [*simulate.DEMO, *simulate.LAWS]:
            parts: dict[str, list[np.ndarray]] = {rival: [] for rival in RIVALS}
            done = 0
            while done < count:
                size = min(count - done, max(1, 2_000_000 // n))
                x = simulate.draw(name, (size, n), rng)
                for rival, test in RIVALS.items():
                    parts[rival].append(test(x))
                done += size
            p = {rival: np.concatenate(part) for rival, part in parts.items()}
            rates = [brief(rejections(p[rival], alpha)) for alpha in ALPHAS[2:] for rival in RIVALS]
            rows.append([str(n), name, *rates])
        print(f"\nmean_zero, {count} sessions\n\n{table(header, rows)}", flush=True)


def brief(seen: Rate) -> str:
    """The rate in units of 1e-4, with its interval."""
    low, high = seen.interval()
    return f"{seen.value * 1e4:.2g} [{low * 1e4:.2g}, {high * 1e4:.2g}]"


def print_levels(sessions: int, rng: np.random.Generator) -> None:
    rows: list[levels.Level] = []
    rows += levels.mean_zero(480, 10 * sessions, rng)
    rows += levels.mean_zero(3840, sessions, rng)
    rows += levels.uniform_pit(2 * sessions, rng)
    rows += levels.likelihood_ratio(2 * sessions, rng)
    rows += levels.se_calibration("15 x 32", sessions, rng, shuffles=399, alphas=COARSE)
    rows += levels.se_calibration("15 x 256", sessions, rng, shuffles=59, alphas=(0.05,))
    for design in simulate.SCALING:
        rows += levels.convergence(design, sessions, rng, shuffles=399, alphas=COARSE)
        rows += levels.se_slope(design, sessions, rng, shuffles=399, alphas=COARSE)
        rows += levels.false_convergence(design, sessions, rng)
    rows += levels.equivalent(sessions, rng)
    rows += levels.uniform_p_values(2 * sessions, rng)
    columns = ["check", "population", "design", "sessions", "α", "rate"]
    print(
        table(
            columns,
            [[r.check, r.population, r.design, str(r.seen.trials), f"{r.alpha:.3g}", str(r.seen)] for r in rows],
        )
    )


def print_hard(sessions: int, rng: np.random.Generator) -> None:
    """Small sets of prompts and collapsed policies, each as the check judges and as it would without being told."""
    rows = []
    for design in simulate.SHARED:
        count = max(40, sessions // (20 if design.startswith("256") else 4))
        judged, plain = (
            list(levels.shared_prompts(design, count, rng, shuffles=199, told=told)) for told in (True, False)
        )
        rows += list(zip(judged, plain, strict=True))
    judged, plain = (list(levels.collapsed(2 * sessions, rng, guarded=guarded)) for guarded in (True, False))
    rows += list(zip(judged, plain, strict=True))
    columns = ["check", "population", "design", "sessions", "α", "rate", "without the guard"]
    cells = [
        [r.check, r.population, r.design, str(r.seen.trials), f"{r.alpha:.2g}", str(r.seen), f"{other.seen.value:.2g}"]
        for r, other in rows
    ]
    print(table(columns, cells))


def print_sessions(sessions: int, rng: np.random.Generator) -> None:
    rows = []
    for G in (8, 2):
        cheap = levels.cheap_sessions(G, 1e-3, 50 * sessions, rng)
        rows.append(
            [f"G = {G}", "the six without shuffling", "1e-3", f"{6 * SHARE:.2g}", str(cheap.trials), str(cheap)]
        )
        for budget, shuffles in ((0.05, 399), (1e-3, None)):
            seen = levels.whole_sessions(G, budget, sessions, rng, shuffles=shuffles)
            rows.append([f"G = {G}", "all nine", f"{budget:g}", f"{budget:g}", str(seen.trials), str(seen)])
    print(table(["demo scalars", "checks", "budget", "promised", "sessions", "rate of red sessions"], rows))


def print_regimes(sessions: int, rng: np.random.Generator) -> None:
    """Correct sessions at the default budget in every regime, row by row as they are done."""
    print("| regime | sessions | rate of red sessions | red checks |\n| --- | --- | --- | --- |", flush=True)
    for regime in every.regimes():
        seen, names = every.red_sessions(regime, sessions, rng)
        print(f"| {regime.name} | {seen.trials} | {seen} | {', '.join(sorted(names)) or 'none'} |", flush=True)


def print_coverage(sessions: int, rng: np.random.Generator) -> None:
    """How often the U-statistic's printed interval holds the truth, before and after the correction of its error."""
    rows = []
    for name in ("t(5)", "lognormal(1)"):
        for mean, what in ((0.0, "no change"), (0.5, "small change"), (3.0, "large change")):
            for size in (4, 8, 16, 32, 128):
                held = every.coverage(name, mean, size, sessions, rng)
                rows.append([name, what, str(size), *(str(seen) if seen.trials else "none" for seen in held)])
    print(table(["prompts", "truth", "B", "printed interval", "± 1.96 SE", "± 1.96 SE by the plug-in"], rows))


def print_power(sessions: int, rng: np.random.Generator) -> None:
    rows: list[levels.Power] = []
    for n, count in ((480, sessions), (3840, sessions // 4)):
        rows += levels.power_of_mean_zero(n, SHARE, count, rng)
    rows += levels.power_of_se_calibration(0.05, sessions // 2, rng, shuffles=399)
    for design in simulate.SCALING:
        rows += levels.power_of_scaling(design, 0.05, sessions // 2, rng, shuffles=399)
    rows += levels.power_of_the_others(sessions, rng)
    columns = ["check", "population", "design", "α", "effect", "power"]
    print(
        table(
            columns, [[r.check, r.population, r.design, f"{r.alpha:.3g}", f"{r.effect:.3g}", str(r.seen)] for r in rows]
        )
    )


PARTS: dict[str, Callable[[int, np.random.Generator], None]] = {
    "rivals": rivals,
    "levels": print_levels,
    "hard": print_hard,
    "sessions": print_sessions,
    "power": print_power,
    "regimes": print_regimes,
    "coverage": print_coverage,
}


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(None if arguments is None else list(arguments))
    for part in given.parts:
        began = time.perf_counter()
        print(f"\n## {part}\n", flush=True)
        PARTS[part](given.sessions, np.random.default_rng(given.seed))
        print(f"\n({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
