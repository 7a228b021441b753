"""Coverage of the 95 % interval of a run, and the slope of its standard error against B_E, on both workloads.

Runs of three sizes give pools of s~_n along each update.  Experiments are drawn from the pool of all sizes, whose mean
is the truth.  The slope is of the runs themselves, each size with its own.  Tails of long answers are heavy: pools of
256 prompts a size gave a slope of -0.55 and a coverage of 0.927 that larger ones do not confirm.  Below 32 prompts no
interval is printed: there Student's t stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from benchmarks.measure import linear_fit
from benchmarks.workload import SEEDS, Workload
from pytest_entropy.stats import Measurement

SIZES = (8, 32, 128)
CONFIDENCE = 0.95


def coverage_section(demo: int, long: int, experiments: int) -> dict[str, Any]:
    """The section's part of the record.

    Args:
        demo, long: prompts of the runs of each size along each update, on either workload.
        experiments: drawn for each size and update.
    """
    found: dict[str, Any] = {"experiments": experiments}
    for name, prompts, made in (("demo", demo, Workload.demo), ("long answers", long, Workload.long)):
        pools = {seed: pools_by_size(made(seed=seed), prompts) for seed in SEEDS}
        found[name] = {
            "prompts": prompts,
            "coverage": {
                seed: {size: coverage(np.concatenate([*pool.values()]), size, experiments) for size in SIZES}
                for seed, pool in pools.items()
            },
            "slope": slope([*pools.values()]),
        }
    return {"interval_coverage": found}


def pools_by_size(workload: Workload, prompts: int) -> dict[int, np.ndarray]:
    """s~_n of so many prompts from runs of each size, with a draw of its own for each run."""
    return {
        size: np.concatenate(
            [workload.run(size, 100_000 * size + run).per_prompt for run in range(max(1, prompts // size))]
        )
        for size in SIZES
    }


def coverage(pool: np.ndarray, size: int, experiments: int) -> float:
    """Share of the experiments of ``size`` prompts drawn from a pool whose interval holds the pool's mean."""
    rng = np.random.default_rng()
    truth, held = float(pool.mean()), 0
    for _ in range(experiments):
        s = rng.choice(pool, size)
        low, high = interval(s)
        held += low <= truth <= high
    return held / experiments


def interval(s: np.ndarray) -> tuple[float, float]:
    """The interval of a run with scalars ``[B_E]``, as it is printed, or Student's t where none is."""
    mean, se = float(s.mean()), float(s.std(ddof=1)) / len(s) ** 0.5
    printed = Measurement(mean, se, len(s)).with_skew_of(s.tolist()).ci(CONFIDENCE)
    if printed:
        return printed
    half = float(scipy_stats.t.ppf((1 + CONFIDENCE) / 2, len(s) - 1)) * se
    return mean - half, mean + half


def slope(pools: list[Mapping[int, np.ndarray]], resamples: int = 1000) -> dict[str, float]:
    """Slope of log SE against log B_E, the mean over updates, with a bootstrap interval over prompts.

    SE is the root mean square over runs; the mean of log SE would be smaller by the noise of SE at few prompts.
    """
    rng = np.random.default_rng()

    def of(resampled: bool) -> float:
        slopes = []
        for pool in pools:
            drawn = {size: rng.choice(s, len(s)) if resampled else s for size, s in pool.items()}
            errors = [0.5 * np.log(s.var(ddof=1) / size) for size, s in drawn.items()]
            slopes.append(linear_fit(np.log([*drawn]).tolist(), errors)["slope"])
        return float(np.mean(slopes))

    low, high = np.quantile([of(True) for _ in range(resamples)], [0.025, 0.975])
    return {"value": of(False), "low": float(low), "high": float(high)}


def lines(found: Mapping[str, Any]) -> list[str]:
    """The section as Markdown lines."""
    out = [
        "",
        f"| coverage of {found['experiments']} intervals | B_E 8 (Student's t) | 32 | 128 |",
        "|---|---|---|---|",
    ]
    slopes = []
    for name, entry in found.items():
        if not isinstance(entry, Mapping):
            continue
        for seed, by_size in entry["coverage"].items():
            out.append(f"| {name}, update seed {seed} | " + " | ".join(f"{c:.3f}" for c in by_size.values()) + " |")
        s = entry["slope"]
        slopes.append(f"slope of log SE, {name}: {s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]")
    return [*out, "", *slopes]
