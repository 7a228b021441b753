"""The style and helpers of all figures: each is an SVG with a title and a one-line reading."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from pytest_entropy.reports.drawn_numbers import description_of
from pytest_entropy.reports.view import ExperimentView

INK, ACCENT, SECOND, GREY = "#2b3a4a", "#1f6fb2", "#c4562f", "#8a9bab"
STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    # Identical bytes for identical data.
    "svg.hashsalt": "pytest-entropy",
    "svg.fonttype": "path",
}
# With more runs than this a figure shows their mean per B_E.
MOST_RUNS = 120


@dataclass(frozen=True)
class Plot:
    """A finished figure.

    Attributes:
        title: its heading.
        reading: what it shows, in a line; also its alternative text.
        svg: its SVG source, whose description holds the drawn numbers.
    """

    title: str
    reading: str
    svg: str

    @property
    def source(self) -> str:
        """The figure as a data URI, for an ``<img>`` with an alternative text."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


def draw_plot(title: str, reading: str, *draw: Callable[[Axes], None]) -> Plot:
    """Draw a figure of one or more panels below one another.

    Args:
        title: its heading.
        reading: what it shows, in a line.
        draw: one function per panel, which draws into its axes.
    """
    import matplotlib

    # Under -W error a warning of matplotlib would leave the session without its report.
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(4.8, 3.3 if len(draw) == 1 else 2.6 * len(draw)), layout="constrained")
        FigureCanvasSVG(figure)
        for number, part in enumerate(draw, start=1):
            part(figure.add_subplot(len(draw), 1, number))
        stream = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Description": description_of(figure)}
        figure.savefig(stream, format="svg", metadata=metadata, facecolor="white")
    text = stream.getvalue()
    return Plot(title, reading, text[text.index("<svg") :])


def bars(values: Sequence[float], intervals: Sequence[Sequence[float] | None]) -> np.ndarray:
    """Bars below and above ``values`` to the ends of their intervals, ``[2, n]``; NaN, not drawn, without an interval.

    Args:
        values: ``[n]``.
        intervals: (low, high) of each, None where there is none.
    """
    ends = [(math.nan, math.nan) if one is None else (value - one[0], one[1] - value)
            for value, one in zip(values, intervals, strict=True)]  # fmt: skip
    return np.array(ends, dtype=float).reshape(-1, 2).T


def short_unit(view: ExperimentView) -> str:
    """The unit of delta_h1 for the labels of axes, such as ``nats/response``."""
    return view.unit.replace(" per ", "/")


def batch_axis(axes: Axes, sizes: np.ndarray) -> None:
    """Set a logarithmic x axis of B_E, with a tick at each of ``sizes`` (prompts)."""
    each = sorted(set(sizes))
    axes.set(xscale="log", xlabel="B_E (prompts)")
    axes.set_xticks(each, [f"{int(size)}" for size in each])
    axes.xaxis.set_minor_locator(NullLocator())


def plain_numbers(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis as 0.01 and 1e-05; typesetting powers takes half of a drawing's time."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
