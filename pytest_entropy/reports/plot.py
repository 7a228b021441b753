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
# A phase of a run has one colour in every figure.
PHASE_COLOURS = {
    "sampling": ACCENT, "self_check": GREY, "derivatives": SECOND, "definition": "#5f8f45", "ground_truth": "#7b5ea7",
    "total_variance": "#b08900", "evidence": "#2a9d8f", "rounding": "#c77d9b", "gradient": "#8c6239",
    "reward": "#9b2f3f", "oracle": "#55646f", "learning": "#3f7f8c",
}  # fmt: skip
OTHER_PHASES = ("#a8c4dd", "#e3b8a5", "#c3d3b6", "#cdbfe0")
# All figures have one size, so that rows of the page have no holes.
SIZE = (4.6, 3.2)
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
    "legend.fontsize": 9.0,
    # Identical bytes for identical data.
    "svg.hashsalt": "pytest-entropy",
    "svg.fonttype": "path",
    # The page shows through, in the light and in the dark scheme.
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
# The smallest distance between two labels, as a share of the axis.
ROOM = 0.08
# With more runs than this a figure shows their mean per B_E.
MOST_RUNS = 120


@dataclass(frozen=True)
class Plot:
    """A finished figure.

    Attributes:
        title: its heading.
        reading: what it shows, in a line; also its alternative text.
        svg: its SVG source, whose description holds the drawn numbers.
        how: how such a figure is read, in a sentence.
    """

    title: str
    reading: str
    svg: str
    how: str = ""

    @property
    def source(self) -> str:
        """The figure as a data URI, for an ``<img>`` with an alternative text."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


def draw_plot(title: str, reading: str, draw: Callable[[Axes], None], *, how: str = "") -> Plot:
    """Draw a figure.

    Args:
        title: its heading.
        reading: what it shows, in a line.
        draw: draws into its axes.
        how: how such a figure is read, in a sentence.
    """
    import matplotlib

    # Under -W error a warning of matplotlib would leave the session without its report.
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        stream = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Description": description_of(figure)}
        figure.savefig(stream, format="svg", metadata=metadata)
    text = stream.getvalue()
    return Plot(title, reading, text[text.index("<svg") :], how)


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
    """Set a logarithmic x axis of B_E, with a tick at each of ``sizes`` (prompts), labelled where there is room."""
    each = sorted(set(sizes))
    axes.set(xscale="log", xlabel="B_E (prompts)")
    shown = with_room(each)
    axes.set_xticks(each, [f"{int(size)}" if size in shown else "" for size in each])
    axes.xaxis.set_minor_locator(NullLocator())


def with_room(sizes: Sequence[float]) -> list[float]:
    """Those of increasing positive numbers whose labels do not collide on a logarithmic axis; the last is one of them.

    >>> with_room([8, 16, 24, 32, 33])
    [8, 16, 24, 33]
    """
    if len(sizes) < 2:
        return list(sizes)
    apart = ROOM * math.log(sizes[-1] / sizes[0])
    shown = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if math.log(shown[-1] / size) >= apart:
            shown.append(size)
    return shown[::-1]


def legend_above(axes: Axes, columns: int = 2) -> None:
    """Set the legend above the axes, where it hides no point and meets no label.

    Args:
        axes: those with the labelled lines.
        columns: number of its columns.
    """
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)


def phase_colours(phases: Sequence[str]) -> dict[str, str]:
    """The colour of each phase of a run; phases that are not built in share a few pale ones.

    >>> phase_colours(["sampling", "mine"])
    {'sampling': '#1f6fb2', 'mine': '#a8c4dd'}

    Args:
        phases: names, as in a run's record.
    """
    others = [name for name in phases if name not in PHASE_COLOURS]
    pale = {name: OTHER_PHASES[n % len(OTHER_PHASES)] for n, name in enumerate(others)}
    return {name: PHASE_COLOURS.get(name) or pale[name] for name in phases}


def plain_numbers(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis as 0.01 and 1e-05; typesetting powers takes half of a drawing's time."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
