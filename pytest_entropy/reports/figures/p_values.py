"""The figure of the checks' p-values, and the probability of the smallest under the null hypotheses."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.reports.plot import ACCENT, INK, Plot, draw_plot, legend_above
from pytest_entropy.reports.view import ExperimentView

HOW = "Where all is well p-values lie near the line, spread evenly between 0 and 1; several near 0 point to a fault."
# Names fit between the lines of the figure up to here.
MOST_NAMES = 20
# Rows are as close as with so many of them.
FEWEST_ROWS = 6


def p_values_figure(view: ExperimentView) -> Plot | None:
    """p-values of the checks, smallest first, beside uniform quantiles; None if fewer than two checks have one."""
    named = [(check.p_value, check.name) for check in view.checks.values() if check.p_value is not None]
    checks = sorted(named, key=lambda entry: entry[0])
    if len(checks) < 2:
        return None
    smallest, first = checks[0]
    # Probability that the smallest of as many independent uniform p-values is as small.
    chance = 1 - (1 - smallest) ** len(checks)
    reading = (
        f"smallest of {len(checks)} is p = {smallest:.2g} ({first}); if all is well, one so "
        f"small comes with probability {chance:.2g}"
    )

    def draw(axes: Axes) -> None:
        rows = np.arange(len(checks))
        axes.plot((rows + 0.5) / len(checks), rows, color=INK, lw=0.8, label="uniform")
        axes.plot([p for p, _ in checks], rows, "o", color=ACCENT, ms=5, label="checks")
        # A name on a line of its own collides with no other.
        axes.set_yticks(rows, [name.replace("_", " ") for _, name in checks] if len(checks) <= MOST_NAMES else [])
        axes.tick_params(axis="y", labelsize=8.5 if len(checks) <= MOST_NAMES / 2 else 6)
        room = max(0.0, (FEWEST_ROWS - len(checks)) / 2)
        axes.set_ylim(len(checks) - 0.5 + room, -0.5 - room)
        axes.grid(axis="y", lw=0.4, alpha=0.4)
        axes.set(xlabel="p", xlim=(-0.03, 1.03))
        legend_above(axes)

    return draw_plot("p-values of the checks", reading, draw, how=HOW)
