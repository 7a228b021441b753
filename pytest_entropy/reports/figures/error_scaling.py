"""The figure of the standard error against B_E, which should fall as B_E^(-1/2)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from pytest_entropy.reports.plot import (
    ACCENT,
    INK,
    MOST_RUNS,
    Plot,
    batch_axis,
    draw_plot,
    legend_above,
    plain_numbers,
    short_unit,
)
from pytest_entropy.reports.view import ExperimentView

HOW = "A right standard error falls along the line, as one over the square root of the number of prompts B_E."


def error_scaling_figure(view: ExperimentView) -> Plot | None:
    """SE of each run against B_E on log axes, with a line of slope -1/2; None for a single B_E."""
    if len({run.B_E for run in view.runs}) < 2:
        return None
    runs = view.runs[:: max(1, len(view.runs) // (4 * MOST_RUNS))]
    sizes = np.array([run.B_E for run in runs], dtype=float)
    errors = np.array([run.se_conditional for run in runs], dtype=float)
    check = view.checks.get("se_slope")
    words = {"pass": "falls as it should", "fail": "does NOT fall as it should", "inconclusive": "could not be decided"}
    reading = "one point per run"
    if check is not None and check.effect is not None:
        reading = f"{words[check.verdict]}: slope {check.effect - 0.5:.2f}, expected -0.5"
    reading = f"{reading}; the error {view.scope}"

    def draw(axes: Axes) -> None:
        # A zero gradient gives errors of 0, which have no logarithm.
        positive = errors > 0
        if positive.any():
            axes.loglog(sizes[positive], errors[positive], "o", color=ACCENT, ms=4, label="runs")
            grid = np.array([sizes.min(), sizes.max()])
            level = np.exp(np.mean(np.log(errors[positive] * np.sqrt(sizes[positive]))))
            axes.loglog(grid, level / np.sqrt(grid), color=INK, lw=1, label="slope -1/2")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            plain_numbers(axes.yaxis)
            legend_above(axes)
        axes.set(ylabel=f"SE of δH₁ ({short_unit(view)})")
        batch_axis(axes, sizes)

    return draw_plot("Standard error against B_E", reading, draw, how=HOW)
