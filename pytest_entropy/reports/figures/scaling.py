"""The figure of delta_h1 against B_E, which shows whether it converges or falls as 1/B_E."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.reports.plot import ACCENT, GREY, INK, MOST_RUNS, SECOND, Plot, batch_axis, draw_plot, short_unit
from pytest_entropy.reports.tables import size_table
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import format_measure
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE


def scaling_figure(view: ExperimentView) -> Plot | None:
    """delta_h1 against B_E with the fit a + b/B_E and both hypotheses; None for a single B_E."""
    if len({run.B_E for run in view.runs}) < 2:
        return None
    sizes, deltas, errors, label = _columns(view)
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
        axes.errorbar(sizes * spread, deltas, yerr=1.96 * errors, fmt="o", color=ACCENT, ms=4, lw=1, label=label)
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
        # Above the axes, where it hides no run.
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    return draw_plot("δH₁ against B_E", reading, draw)


def _columns(view: ExperimentView) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """B_E, delta_h1 and SE of every run, or of the means per B_E if there are too many runs, and their label."""
    runs = view.runs
    if len(runs) <= MOST_RUNS:
        drawn = [(run.B_E, run.delta_h1, run.se_conditional) for run in runs]
        label = f"runs, 95 % CI, {_scope(view)}"
    else:
        rows = size_table(view).sizes
        drawn = [(row.B_E, row.mean.value, row.mean.se) for row in rows]
        label = f"mean of {len(runs) // len(rows)} runs, 95 % CI, {_scope(view)}"
    # A missing standard error becomes NaN, which is not drawn.
    sizes, deltas, errors = np.array(drawn, dtype=float).T
    return sizes, deltas, errors, label


def _scope(view: ExperimentView) -> str:
    """The scope of the drawn errors, short enough for a legend."""
    return view.scope.replace(FOR_THIS_UPDATE, "this U")
