"""Interleaved timing, and what is said of repeated measurements."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def interleaved(
    tasks: Mapping[str, Callable[[int], Any]], repeats: int, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every task, ``repeats`` times, in turn and each round in another order.

    Every task gets the number of the round.  What disturbs the machine for a while then disturbs all tasks.
    """
    return interleaved_clocks(tasks, repeats, [clock])[0]


def interleaved_clocks(
    tasks: Mapping[str, Callable[[int], Any]], repeats: int, clocks: Sequence[Callable[[], float]]
) -> list[dict[str, list[float]]]:
    """:func:`interleaved` by several clocks at once."""
    seconds: list[dict[str, list[float]]] = [{name: [] for name in tasks} for _ in clocks]
    names = list(tasks)
    for r in range(repeats):
        shift = r % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            started = [clock() for clock in clocks]
            tasks[name](r)
            for clock, before, record in zip(clocks, started, seconds, strict=True):
                record[name].append(clock() - before)
    return seconds


def summary(values: Sequence[float]) -> dict[str, float]:
    """median, min, max and n of repeated measurements."""
    return {
        "median": float(np.median(values)), "min": float(min(values)), "max": float(max(values)), "n": len(values)
    }  # fmt: skip


def ratios(top: Sequence[float], bottom: Sequence[float]) -> list[float]:
    """Round by round, so that both sides of a ratio saw the same machine."""
    return [a / b for a, b in zip(top, bottom, strict=True)]


def variance_with_interval(
    s: np.ndarray, *, resamples: int = 2000, seed: int = 0, confidence: float = 0.95
) -> dict[str, float]:
    """Variance of per-prompt scalars with a percentile bootstrap interval over prompts (tails are heavy)."""
    rng = np.random.default_rng(seed)
    drawn = np.array([s[rng.integers(0, len(s), len(s))].var(ddof=1) for _ in range(resamples)])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(s.var(ddof=1)), "low": float(low), "high": float(high), "n": len(s)}


def variance_ratio(
    top: np.ndarray, bottom: np.ndarray, *, resamples: int = 2000, seed: int = 0, confidence: float = 0.95
) -> dict[str, float]:
    """var(top) / var(bottom) of scalars of the same prompts, with a paired bootstrap interval."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = rng.integers(0, len(top), len(top))
        drawn.append(top[rows].var() / bottom[rows].var())
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(top.var() / bottom.var()), "low": float(low), "high": float(high), "n": len(top)}


def linear_fit(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """Least squares y = intercept + slope x with R^2."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (intercept + slope * np.asarray(x))
    return {
        "slope": float(slope), "intercept": float(intercept), "r2": float(1 - rest.var() / np.asarray(y).var())
    }  # fmt: skip


def load() -> dict[str, float | int | None]:
    """How busy the machine is: one-minute load average and cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"load_1min": os.getloadavg()[0], "cores": cores}
