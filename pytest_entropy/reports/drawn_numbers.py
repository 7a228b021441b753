"""The numbers that a drawn figure holds, read back from its axes: they are written into its SVG's description."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# More digits than any reader of a figure sees.
DIGITS = 10


def description_of(figure: Figure) -> str:
    """The numbers of all panels as JSON: for each its axes' labels, lines, intervals and bars."""
    return json.dumps([_panel(axes) for axes in figure.axes], ensure_ascii=False, separators=(",", ":"))


def _panel(axes: Axes) -> dict[str, Any]:
    bars = [bars for bars in axes.containers if isinstance(bars, BarContainer)]
    intervals = [one for one in axes.containers if isinstance(one, ErrorbarContainer)]
    # An errorbar's points are a line of its own, without the label, which its container has.
    names = {id(one.lines[0]): str(one.get_label()) for one in intervals}
    return {
        "x": axes.get_xlabel(),
        "y": axes.get_ylabel(),
        "lines": [_line(line, names.get(id(line), str(line.get_label()))) for line in axes.get_lines()],
        "intervals": [
            {"label": str(one.get_label()), "ends": [_rows(s) for part in one.lines[2] for s in _segments(part)]}
            for one in intervals
        ],
        "bars": [
            {
                "label": str(one.get_label()),
                "boxes": [_row([*bar.get_xy(), bar.get_width(), bar.get_height()]) for bar in one.patches],
            }
            for one in bars
        ],
    }


def _line(line: Line2D, label: str) -> dict[str, Any]:
    xs, ys = (np.asarray(values, dtype=float).ravel() for values in line.get_data(orig=False))
    return {"label": label, "x": _row(xs), "y": _row(ys)}


def _segments(lines: LineCollection) -> list[Any]:
    return list(lines.get_segments())


def _rows(points: Iterable[Iterable[float]]) -> list[list[float | None]]:
    return [_row(point) for point in points]


def _row(values: Iterable[float]) -> list[float | None]:
    """Rounded numbers; None for what is not drawn."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in map(float, values)]
