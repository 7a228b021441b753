"""The figure of the checks' p-values, and the probability of the smallest under the null hypotheses."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.reports.plot import ACCENT, INK, Plot, draw_plot
from pytest_entropy.reports.view import ExperimentView


def p_values_figure(view: ExperimentView) -> Plot | None:
    """p-values of the checks against uniform quantiles; None if no check has a p-value."""
    named = [(check.p_value, check.name) for check in view.checks.values() if check.p_value is not None]
    checks = sorted(named, key=lambda entry: entry[0])
    if not checks:
        return None
    smallest, first = checks[0]
    # Probability that the smallest of as many independent uniform p-values is as small.
    chance = 1 - (1 - smallest) ** len(checks)
    reading = (
        f"smallest of {len(checks)} is p = {smallest:.2g} ({first}); if all is well, one so "
        f"small comes with probability {chance:.2g}"
    )

    def draw(axes: Axes) -> None:
        expected = (np.arange(len(checks)) + 0.5) / len(checks)
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, label="uniform")
        axes.plot(expected, [p for p, _ in checks], "o", color=ACCENT, ms=5)
        for x, (p, name) in zip(expected, checks, strict=True):
            left = x > 0.5
            axes.annotate(
                name, (x, p), fontsize=8, xytext=(-6 if left else 6, -3),
                textcoords="offset points", ha="right" if left else "left",
            )  # fmt: skip
        axes.set(xlabel="uniform quantile", ylabel="p", xlim=(0, 1.02), ylim=(-0.05, 1.05))

    return draw_plot("p-values of the checks", reading, draw)
