"""The figures of the prompts' contributions to delta_h1 and of their tail."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from pytest_entropy.reports.plot import (
    ACCENT,
    GREY,
    INK,
    SECOND,
    Plot,
    draw_plot,
    legend_above,
    plain_numbers,
    short_unit,
)
from pytest_entropy.reports.view import ExperimentView

# Points of the tail shown at most.
MOST_POINTS = 300
CONTRIBUTIONS = (
    "δH₁ is the mean of the prompts' contributions η s_n, and its standard error is their spread over the square root "
    "of B_E."
)
TAIL = (
    "Points above the line are prompts farther from the mean than a normal distribution has them: a few of them then "
    "move δH₁, and intervals take more prompts."
)


def scalars_figures(view: ExperimentView) -> Iterator[Plot]:
    """Histogram of eta s_n over the prompts of all runs, and their tail beside a normal distribution's if they differ.

    Args:
        view: an experiment with runs.
    """
    values = np.concatenate([run.eta * np.asarray(run.per_prompt) for run in view.runs])
    spread = values.std()
    reading = f"over {len(values)} prompts, mean {values.mean():.3g}, sd {spread:.3g} {view.unit}"

    def histogram(axes: Axes) -> None:
        axes.hist(values, bins=min(60, max(10, len(values) // 8)), color=ACCENT, alpha=0.8)
        axes.axvline(values.mean(), color=SECOND, lw=1.2, label="mean")
        axes.axvline(0, color=GREY, lw=0.6)
        axes.set(xlabel=f"η s_n ({short_unit(view)})", ylabel="prompts", yscale="symlog")
        axes.locator_params(axis="x", nbins=5)
        plain_numbers(axes.yaxis)
        legend_above(axes)

    yield draw_plot("Contributions of the prompts", reading, histogram, how=CONTRIBUTIONS)
    if spread > 0:
        yield _tail_figure(values, float(spread))


def _tail_figure(values: np.ndarray, spread: float) -> Plot:
    kurtosis = float(np.mean(((values - values.mean()) / spread) ** 4))
    reading = f"{'heavy tail' if kurtosis > 6 else 'no heavy tail'}: kurtosis {kurtosis:.1f} (normal: 3)"

    def tail(axes: Axes) -> None:
        from scipy.special import ndtr

        far = np.sort(np.abs(values - values.mean()) / spread)[::-1]
        share = np.arange(1, len(far) + 1) / len(far)
        # All of the farthest points, then a geometrically decreasing share.
        shown = np.unique(np.geomspace(1, len(far), MOST_POINTS).astype(int)) - 1
        axes.loglog(far[shown], share[shown], "o", color=ACCENT, ms=3, label="seen")
        grid = np.linspace(0.5, max(4.0, float(far[0])), 200)
        normal = 2 * ndtr(-grid)
        in_reach = normal > 0.2 / len(far)
        axes.loglog(grid[in_reach], normal[in_reach], color=INK, lw=1, label="normal")
        axes.set(xlabel="distance from the mean (sd)", ylabel="share of the prompts beyond", xlim=(0.5, None))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        plain_numbers(axes.xaxis)
        plain_numbers(axes.yaxis)
        legend_above(axes)

    return draw_plot("Tail of the contributions", reading, tail, how=TAIL)
