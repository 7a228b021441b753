"""The figures of debugging: all estimators of delta_h1 side by side, and the parts of its variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.records.run import RunRecord
from pytest_entropy.reports.plot import ACCENT, GREY, INK, SECOND, Plot, draw_plot, legend_above, short_unit
from pytest_entropy.reports.view import ExperimentView

COLOURS = (ACCENT, SECOND, "#5f8f45", "#7b5ea7", GREY)
# Runs shown at most: more bars cannot be told apart.
MOST_RUNS = len(COLOURS)
ESTIMATORS = (
    "Estimators of one run see the same responses and estimate the same number: one that lies many standard errors "
    "from the others is wrong."
)
PARTS = (
    "V_X comes from the entropy batch and V_Y from the update batch; T is in both and is subtracted once. The larger "
    "of V_X and V_Y says which batch to enlarge."
)


def estimators_of(view: ExperimentView) -> dict[str, Mapping[str, Any]]:
    """Mean and standard error by estimator, by label of a run; empty where the analysis has none.

    Args:
        view: an experiment; that of debugging has them.
    """
    found = view.analysis.get("runs")
    entries = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    with_estimators = [one for one in entries if isinstance(one.get("estimators"), dict)]
    return {f"B_E {one['B_E']} run {one['run']}": one["estimators"] for one in with_estimators[:MOST_RUNS]}


def variance_parts_of(runs: Sequence[RunRecord]) -> dict[str, dict[str, float]]:
    """V_X, V_Y, T and their total by label of a run, of the first runs that have all of them.

    Args:
        runs: of one experiment.
    """
    parts = {}
    for run in runs:
        one = run.variance_parts
        if one.entropy_batch is not None and one.update_batch is not None and one.interaction is not None:
            total = one.entropy_batch + one.update_batch - one.interaction
            parts[f"B_E {run.B_E} run {run.run}"] = {
                "V_X": one.entropy_batch, "V_Y": one.update_batch, "T": one.interaction, "total": total,
            }  # fmt: skip
    return dict(list(parts.items())[:MOST_RUNS])


def estimators_figure(view: ExperimentView) -> Plot | None:
    """Mean of each estimator with its standard error, a row each, the runs beside one another; None without them."""
    runs = estimators_of(view)
    names = list(dict.fromkeys(name for one in runs.values() for name in one))
    known = [one[name] for one in runs.values() for name in one if one[name].get("mean") is not None]
    if len(names) < 2 or not known:
        return None
    furthest = max(map(_from_zero, known))

    def draw(axes: Axes) -> None:
        for n, (label, of) in enumerate(runs.items()):
            rows = [(row, of[name]) for row, name in enumerate(names) if name in of and of[name]["mean"] is not None]
            places = [row + 0.3 * (n - (len(runs) - 1) / 2) / max(1, len(runs) - 1) for row, _ in rows]
            means = [measure["mean"] for _, measure in rows]
            errors = [np.nan if measure["se"] is None else measure["se"] for _, measure in rows]
            axes.errorbar(means, places, xerr=errors, fmt="o", ms=4, lw=1, color=COLOURS[n], label=label)
        axes.axvline(0, color=INK, lw=0.6)
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.set(xlabel=f"mean of η s_n ± SE ({short_unit(view)})", ylim=(len(names) - 0.5, -0.5))
        axes.locator_params(axis="x", nbins=5)
        legend_above(axes)

    reading = f"{len(names)} estimators, the largest mean {furthest:.3g} {view.unit}; bars are one standard error"
    return draw_plot("Estimators side by side", reading, draw, how=ESTIMATORS)


def _from_zero(measure: Mapping[str, Any]) -> float:
    return abs(float(measure["mean"]))


def variance_parts_figure(view: ExperimentView) -> Plot | None:
    """V_X, V_Y, T and their total as bars, the runs beside one another; None where no run has them."""
    runs = variance_parts_of(view.runs)
    if not runs:
        return None
    last = list(runs.values())[-1]
    which = "entropy batch" if last["V_X"] > last["V_Y"] else "update batch"

    def draw(axes: Axes) -> None:
        thick = 0.8 / len(runs)
        for n, (label, parts) in enumerate(runs.items()):
            places = np.arange(len(parts)) + thick * (n - (len(runs) - 1) / 2)
            axes.barh(places, list(parts.values()), thick, color=COLOURS[n], label=label)
        axes.set_yticks(range(len(last)), list(last))
        axes.axvline(0, color=INK, lw=0.6)
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=5)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        axes.set(xlabel=f"variance of δH₁ in ({short_unit(view)})²")
        legend_above(axes)

    return draw_plot("Parts of the variance", f"the {which} contributes most to the error", draw, how=PARTS)
