"""The figure of delta_h1 against B_E, which shows whether it converges or falls as 1/B_E."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.records.run import RunRecord
from pytest_entropy.reports.plot import (
    ACCENT,
    GREY,
    INK,
    MOST_RUNS,
    SECOND,
    Plot,
    bars,
    batch_axis,
    draw_plot,
    legend_above,
    short_unit,
)
from pytest_entropy.reports.tables import size_table
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import Measurement, format_measure
from pytest_entropy.stats.intervals import PromptPool
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE

CONFIDENCE = 0.95
HOW = (
    "On a level line δH₁ converges as B_E, the number of prompts of the entropy batch, grows; on the dashed line it "
    "would scale as 1/B_E, which is a bug."
)


def scaling_figure(view: ExperimentView) -> Plot | None:
    """delta_h1 against B_E with the fit a + b/B_E and both hypotheses; None for a single B_E."""
    if len({run.B_E for run in view.runs}) < 2:
        return None
    drawn, label = _drawn(view)
    sizes, deltas = np.array([one.B_E for one in drawn], dtype=float), np.array([one.delta_h1 for one in drawn])
    reach = bars(deltas.tolist(), [one.interval for one in drawn])
    fit = view.analysis.get("fit") or {}
    verdict = view.analysis.get("verdict", "no fit")
    reading = str(verdict)
    if fit.get("b") is not None:
        reading = f"{verdict}: a = {format_measure(fit['a'], fit['se_a'])}, b = {format_measure(fit['b'], fit['se_b'])}"
    reading = f"{reading}; all errors {view.scope}"

    def draw(axes: Axes) -> None:
        # Runs at one B_E are drawn side by side.
        place = np.array([np.sum(sizes[:n] == size) for n, size in enumerate(sizes)])
        most = max(1, place.max())
        spread = np.exp(0.12 * (place / most - 0.5)) if place.any() else 1.0
        axes.errorbar(sizes * spread, deltas, yerr=reach, fmt="o", color=ACCENT, ms=4, lw=1, label=label)
        grid = np.geomspace(sizes.min() * 0.9, sizes.max() * 1.2, 100)
        if fit.get("b") is not None:
            axes.plot(grid, fit["a"] + fit["b"] / grid, color=INK, lw=1.2, label="fit a + b/B_E")
            mean = np.average(deltas, weights=sizes)
            axes.axhline(mean, color=INK, lw=0.8, ls=":", label="if it converges")
            anchor = deltas[sizes == sizes.min()].mean() * sizes.min()
            axes.plot(grid, anchor / grid, color=SECOND, lw=1, ls="--", label="if it scales as 1/B_E")
        axes.axhline(0, color=GREY, lw=0.6)
        axes.set(ylabel=f"δH₁ ({short_unit(view)})")
        batch_axis(axes, sizes)
        legend_above(axes)

    return draw_plot("δH₁ against B_E", reading, draw, how=HOW)


@dataclass(frozen=True)
class _Drawn:
    """What is drawn with a bar: a run, or the mean of the runs at one B_E; no interval with too few prompts."""

    B_E: int
    delta_h1: float
    interval: tuple[float, float] | None


def _drawn(view: ExperimentView) -> tuple[list[_Drawn], str]:
    """Every run, or the means per B_E if there are too many runs, and their label."""
    runs = view.runs
    if len(runs) <= MOST_RUNS:
        drawn = [_Drawn(run.B_E, run.delta_h1, ci) for run, ci in zip(runs, run_intervals(runs), strict=True)]
        what = "runs"
    else:
        rows = size_table(view).sizes
        drawn = [_Drawn(row.B_E, row.mean.value, row.mean.ci(CONFIDENCE)) for row in rows]
        what = f"mean of {len(runs) // len(rows)} runs"
    known = any(one.interval is not None for one in drawn)
    return drawn, f"{what}, {f'{100 * CONFIDENCE:g} % CI' if known else 'no interval'}, {_scope(view)}"


def run_intervals(runs: Sequence[RunRecord]) -> list[tuple[float, float] | None]:
    """The interval of each run's delta_h1; None without a standard error, or where all runs have too few prompts.

    Runs along one update share the distribution of their scalars, so that the spread and skewness of all of them are
    used for each: a run of 8 prompts alone has no interval, together with others it has one.

    Args:
        runs: of one experiment.
    """
    if any(run.mode == "u_statistic" for run in runs):
        return [Measurement.of(run).with_skew_of(run.per_prompt).ci(CONFIDENCE) for run in runs]
    pool = PromptPool.of([run.eta * np.asarray(run.per_prompt, dtype=float) for run in runs])
    return [
        None if run.se_conditional is None else pool.sum_interval(
            run.delta_h1, np.ones(1), np.array([run.B_E], dtype=float), confidence=CONFIDENCE
        )
        for run in runs
    ]  # fmt: skip


def _scope(view: ExperimentView) -> str:
    """The scope of the drawn errors, short enough for a legend."""
    return view.scope.replace(FOR_THIS_UPDATE, "this U")
