"""The figure of delta_h1 along each of several update batches, with the drift and the next step's interval."""

from __future__ import annotations

from matplotlib.axes import Axes

from pytest_entropy.reports.plot import ACCENT, GREY, INK, SECOND, Plot, bars, draw_plot, short_unit
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE

TITLE = "δH₁ along each update batch"
READING = (
    "Points that scatter more than their bars say how much the update batch matters: the drift is their mean, and the "
    "next step's change is one more such point."
)


def updates_figure(view: ExperimentView) -> Plot | None:
    """delta_h1 by update batch; None with one update batch."""
    mean = view.analysis.get("mean") or {}
    along = mean.get("by_update") or []
    if len(along) < 2:
        return None

    def draw(axes: Axes) -> None:
        values, numbers = [one["delta_h1"] for one in along], [one["update"] for one in along]
        percent = f"{100 * mean['confidence']:g} %"
        for name, color, alpha in (("next_step", GREY, 0.25), ("drift", SECOND, 0.3)):
            if mean.get(name):
                axes.axhspan(*mean[name], color=color, alpha=alpha, lw=0, label=f"{name.replace('_', ' ')}, {percent}")
        axes.axhline(mean["delta_h1"], color=INK, lw=1, label="mean")
        axes.errorbar(
            numbers,
            values,
            yerr=bars(values, [one.get("interval") for one in along]),
            fmt="o", color=ACCENT, ms=4, lw=1, label=f"update batches, {percent} CI {FOR_THIS_UPDATE}",
        )  # fmt: skip
        axes.set(xlabel="update batch", ylabel=f"δH₁ ({short_unit(view)})")
        axes.set_xticks(numbers)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    return draw_plot(TITLE, f"{len(along)} update batches, mean {mean['delta_h1']:.3g} {view.unit}", draw, how=READING)
