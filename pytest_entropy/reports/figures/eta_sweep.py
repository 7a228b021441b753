"""The figure of the entropy change against the step size, which shows where the first order holds."""

from __future__ import annotations

from matplotlib.axes import Axes

from pytest_entropy.reports.plot import ACCENT, GREY, INK, SECOND, Plot, bars, draw_plot, legend_above
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import format_measure
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE

HOW = (
    "ΔH(η) is the change of the entropy itself at the step size η: where the points run into δH₁/η at η = 0 the first "
    "order is right, and how far they have left it at the training η is what the first order misses."
)


def eta_sweep_figure(view: ExperimentView) -> Plot | None:
    """Delta H(eta)/eta against eta, with delta_h1/eta at eta = 0; None without a sweep."""
    sweep = view.analysis.get("eta_sweep")
    if not sweep or not sweep.get("points"):
        return None
    points = [point for point in sweep["points"] if point.get("slope") is not None]
    intercept, slope = sweep.get("intercept"), sweep.get("delta_h1_over_eta")
    reading = str(sweep.get("reading") or "")
    if intercept is not None and slope is not None:
        measure = format_measure(intercept, sweep.get("intercept_se"))
        numbers = f"intercept {measure} {FOR_THIS_UPDATE}, δH₁/η = {slope:.3g}"
        reading = f"{reading}; {numbers}" if reading else numbers

    def draw(axes: Axes) -> None:
        known = any(point.get("interval") for point in points)
        what = f"{100 * sweep['confidence']:g} % CI" if known else "no interval"
        for trusted, color, label in ((True, ACCENT, f"ΔH(η)/η, {what}, this U"), (False, GREY, "not to be trusted")):
            chosen = [point for point in points if point.get("trusted", True) == trusted]
            if chosen:
                axes.errorbar(
                    [point["eta"] for point in chosen],
                    [point["slope"] for point in chosen],
                    yerr=bars([point["slope"] for point in chosen], [point.get("interval") for point in chosen]),
                    fmt="o", color=color, ms=4, lw=1, label=label,
                )  # fmt: skip
        if intercept is not None:
            bar = bars([intercept], [sweep.get("intercept_interval")])
            axes.errorbar([0], [intercept], yerr=bar, fmt="s", color=INK, ms=4, lw=1, label="intercept of the fit")
        if slope is not None:
            axes.plot([0], [slope], "D", color=SECOND, ms=6, mfc="none", label="δH₁/η")
        if sweep.get("training_eta"):
            axes.axvline(sweep["training_eta"], color=INK, lw=0.8, ls=":", label="training η")
        axes.axhline(0, color=GREY, lw=0.6)
        axes.set(xlabel="η", ylabel="ΔH(η)/η")
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        legend_above(axes)

    return draw_plot("Entropy change against the step", reading or "ΔH(η)/η at each step", draw, how=HOW)
