"""The figure of a comparison with a baseline: each difference with its interval, in units of its margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from pytest_entropy.reports.figures import ACCENT, GREY, INK, SECOND, Plot, draw_plot

COLOURS = {"pass": ACCENT, "fail": SECOND, "inconclusive": GREY}


def comparison_plot(quantities: Sequence[Mapping[str, Any]]) -> Plot | None:
    """The quantities of ``comparison.json`` that could be compared, None if none could."""
    rows = [row for row in quantities if row["margin"] and row["outcome"]["ci"]]
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        axes.axvspan(-1, 1, color=GREY, alpha=0.25, lw=0, label="within the margin")
        axes.axvline(0, color=INK, lw=0.8)
        for place, row in enumerate(reversed(rows)):
            outcome, margin = row["outcome"], row["margin"]
            effect, (low, high) = outcome["effect"] / margin, (end / margin for end in outcome["ci"])
            colour = COLOURS[outcome["verdict"]]
            axes.plot([low, high], [place, place], color=colour, lw=1.5)
            axes.plot([effect], [place], "o", color=colour, ms=6)
        axes.set_yticks(range(len(rows)), [row["quantity"] for row in reversed(rows)])
        reach = max(1.6, *(abs(end) / row["margin"] * 1.15 for row in rows for end in row["outcome"]["ci"]))
        axes.set(
            xlabel="difference in units of its margin, 95 % CI", xlim=(-reach, reach), ylim=(-0.6, len(rows) - 0.4)
        )
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))

    reading = "; ".join(
        f"{row['quantity']} {row['word']}, by {row['outcome']['effect'] / row['margin']:.2g} margins" for row in rows
    )
    return draw_plot("Differences from the baseline", reading, draw)
