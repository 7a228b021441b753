"""The figures of memory and time against B_E, G and response length, with their lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.reports.plot import ACCENT, GREY, INK, SECOND, Plot, batch_axis, draw_plot, legend_above
from pytest_entropy.reports.view import ExperimentView

UNITS = {"memory": "MiB", "seconds": "seconds"}
TITLES = {"memory": "Memory", "seconds": "Time"}
HOW_B_E = {
    "memory": "Memory that stays level lets a larger entropy batch run on the same machine: it is computed in pieces.",
    "seconds": "Each prompt of the entropy batch costs as much as any other: the line is straight, bent by the axis.",
}
HOW_OTHERS = "A point at 1 is the configured number of responses per prompt, G, or the configured largest length."
COUNTED = {"runs": "of the process", "probes": "of the run's tensors"}


def memory_scaling_figures(view: ExperimentView) -> Iterator[Plot]:
    """Memory and time against B_E, and against G and mean length as shares of the largest; none without the analysis.

    Args:
        view: an experiment.
    """
    fits = view.analysis.get("fits")
    # Another experiment's analysis may have fits of its own.
    if not fits or "counted" not in view.analysis or any(fit["largest"] is None for fit in fits):
        return
    verdict = view.conclusion.verdict if view.conclusion is not None else "not judged"
    readings = {
        "memory": f"peak memory: {verdict}; of the run's tensors: {view.analysis['counted']}",
        "seconds": "of the planned runs",
    }
    of = {key: [fit for fit in fits if fit["quantity"] == key] for key in TITLES}
    for key, title in TITLES.items():
        yield draw_plot(f"{title} against B_E", readings[key], _against_B_E(key, of[key]), how=HOW_B_E[key])
    for key, title in TITLES.items():
        reading = "of probes with two prompts; lines by least squares"
        yield draw_plot(f"{title} against G and length", reading, _against_others(key, of[key]), how=HOW_OTHERS)


def _against_B_E(quantity: str, fits: Sequence[Mapping[str, Any]]) -> Callable[[Axes], None]:
    chosen = [fit for fit in fits if fit["axis"] == "B_E"]

    def draw(axes: Axes) -> None:
        for fit, color in zip(chosen, (ACCENT, SECOND), strict=False):
            of = COUNTED.get(fit["source"], fit["source"]) if quantity == "memory" else "of a run"
            _one(axes, fit, f"{quantity} {of}", color, 1.0)
        batch_axis(axes, np.array([x for fit in chosen for x, _ in fit["points"]]))
        axes.set(ylabel=UNITS[quantity], ylim=(0, None))
        legend_above(axes)

    return draw


def _against_others(quantity: str, fits: Sequence[Mapping[str, Any]]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for name, color in (("G", ACCENT), ("length", SECOND)):
            for fit in fits:
                if fit["axis"] == name:
                    _one(axes, fit, f"{quantity} against {name}", color, fit["largest"])
        axes.axhline(0, color=GREY, lw=0.6)
        axes.set(xlabel="share of the largest G or mean length", ylabel=UNITS[quantity])
        legend_above(axes)

    return draw


def _one(axes: Axes, fit: Mapping[str, Any], label: str, color: str, unit: float) -> None:
    xs = np.array([x for x, _ in fit["points"]], dtype=float)
    axes.plot(xs / unit, [y for _, y in fit["points"]], "o", color=color, ms=4, label=label)
    if fit["slope"] is not None:
        # Bent on a logarithmic axis.
        grid = np.linspace(xs.min(), xs.max(), 50)
        axes.plot(grid / unit, fit["intercept"] + fit["slope"] * grid, color=INK, lw=0.8, label="_line")
