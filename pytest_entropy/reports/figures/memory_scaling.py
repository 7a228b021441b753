"""The figure of memory and time against B_E, G and response length, with their lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.reports.plot import ACCENT, GREY, INK, SECOND, Plot, batch_axis, draw_plot
from pytest_entropy.reports.view import ExperimentView

UNITS = {"memory": "MiB", "seconds": "seconds"}
LABELS = {"runs": "of the process", "probes": "of the run's tensors"}


def memory_scaling_figure(view: ExperimentView) -> Plot | None:
    """Costs against B_E, and against G and mean length as shares of the largest; None without the analysis."""
    fits = view.analysis.get("fits")
    if view.name != "memory_scaling" or not fits:
        return None
    of = {key: [fit for fit in fits if fit["quantity"] == key] for key in UNITS}
    panels = [_against_B_E(quantity, of[quantity]) for quantity in UNITS]
    panels += [_against_others(quantity, of[quantity]) for quantity in UNITS]
    reading = view.conclusion.verdict if view.conclusion is not None else None
    counted = view.analysis["counted"]
    return draw_plot(
        "Memory and time against B_E, G and length",
        f"peak memory: {reading or 'not judged'}; of the run's tensors: {counted}; lines by least squares",
        *panels,
    )


def _against_B_E(quantity: str, fits: Sequence[Mapping[str, Any]]) -> Callable[[Axes], None]:
    chosen = [fit for fit in fits if fit["axis"] == "B_E"]

    def draw(axes: Axes) -> None:
        for fit, color in zip(chosen, (ACCENT, SECOND), strict=False):
            of = LABELS[fit["source"]] if quantity == "memory" else "of a run"
            _one(axes, fit, f"{quantity} {of}", color, 1.0)
        batch_axis(axes, np.array([x for fit in chosen for x, _ in fit["points"]]))
        axes.set(ylabel=UNITS[quantity], ylim=(0, None))
        axes.legend()

    return draw


def _against_others(quantity: str, fits: Sequence[Mapping[str, Any]]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for name, color in (("G", ACCENT), ("length", SECOND)):
            for fit in fits:
                if fit["axis"] == name:
                    _one(axes, fit, f"{quantity} against {name}", color, fit["largest"])
        axes.axhline(0, color=GREY, lw=0.6)
        axes.set(xlabel="share of the largest G or mean length", ylabel=UNITS[quantity])
        axes.legend()

    return draw


def _one(axes: Axes, fit: Mapping[str, Any], label: str, color: str, unit: float) -> None:
    xs = np.array([x for x, _ in fit["points"]], dtype=float)
    axes.plot(xs / unit, [y for _, y in fit["points"]], "o", color=color, ms=4, label=label)
    if fit["slope"] is not None:
        # Bent on a logarithmic axis.
        grid = np.linspace(xs.min(), xs.max(), 50)
        axes.plot(grid / unit, fit["intercept"] + fit["slope"] * grid, color=INK, lw=0.8, label="_line")
