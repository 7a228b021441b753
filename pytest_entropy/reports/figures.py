"""The report's figures: each an SVG with a title, an alternative text and a one-line reading."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import format_measure
from pytest_entropy.stats.measurement import FOR_THIS_UPDATE

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
# Runs beyond which a figure shows their mean per B_E, and points beyond which a tail shows every other one.
MOST_RUNS, MOST_POINTS = 120, 300


@dataclass(frozen=True)
class Plot:
    """A finished figure."""

    title: str
    reading: str
    svg: str

    @property
    def source(self) -> str:
        """The figure as a data URI, for an ``<img>`` with an alternative text."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


def plots(view: ExperimentView) -> Iterator[Plot]:
    """The figures this experiment has the data for."""
    if not view.runs:
        return
    if len({run["B_E"] for run in view.runs}) > 1:
        yield scaling(view)
        yield error_scaling(view)
    sweep = view.analysis.get("eta_sweep")
    if sweep and sweep.get("points"):
        yield eta_sweep(sweep)
    yield scalars(view)
    if [check for check in view.checks.values() if check["p_value"] is not None]:
        yield p_values(view)


def draw_plot(title: str, reading: str, *draw: Callable[[Axes], None]) -> Plot:
    """A figure of the parts drawn below one another."""
    import matplotlib

    # What a picture warns of is no reason for a session to end without its report.
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(4.8, 3.3 if len(draw) == 1 else 2.6 * len(draw)), layout="constrained")
        FigureCanvasSVG(figure)
        for number, part in enumerate(draw, start=1):
            part(figure.add_subplot(len(draw), 1, number))
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    text = stream.getvalue()
    return Plot(title, reading, text[text.index("<svg") :])


def _columns(view: ExperimentView) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """B_E, delta_h1 and SE of every run, or of the mean per B_E where there are too many, and what they are."""
    runs = view.runs
    sizes = np.array([run["B_E"] for run in runs], dtype=float)
    deltas = np.array([run["delta_h1"] for run in runs])
    variances = np.array([run["variance_conditional"] for run in runs], dtype=float)
    if len(runs) <= MOST_RUNS:
        return sizes, deltas, np.sqrt(variances), f"runs, 95 % CI, {_scope(view)}"
    each = np.unique(sizes)
    of = [sizes == size for size in each]
    mean = np.array([deltas[chosen].mean() for chosen in of])
    error = np.array([np.sqrt(variances[chosen].sum()) / chosen.sum() for chosen in of])
    return each, mean, error, f"mean of {len(runs) // len(each)} runs, 95 % CI, {_scope(view)}"


def _scope(view: ExperimentView) -> str:
    """What the drawn errors are over, short enough for a legend."""
    return view.scope.replace(FOR_THIS_UPDATE, "this U")


def _batch_axis(axes: Axes, sizes: np.ndarray) -> None:
    each = sorted(set(sizes))
    axes.set(xscale="log", xlabel="B_E (prompts)")
    axes.set_xticks(each, [f"{int(size)}" for size in each])
    axes.xaxis.set_minor_locator(NullLocator())


def _plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis as 0.01 and 1e-05, not as powers: typesetting those is half of a drawing's time."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def scaling(view: ExperimentView) -> Plot:
    """delta_h1 against B_E with the fit and both hypotheses."""
    sizes, deltas, errors, label = _columns(view)
    fit: dict[str, Any] = view.analysis.get("fit") or {}
    verdict = view.analysis.get("verdict", "no fit")
    reading = str(verdict)
    if fit.get("b") is not None:
        reading = f"{verdict}: a = {format_measure(fit['a'], fit['se_a'])}, b = {format_measure(fit['b'], fit['se_b'])}"
    reading = f"{reading}; all errors {view.scope}"

    def draw(axes: Axes) -> None:
        # Runs at one B_E stand side by side.
        place = np.array([np.sum(sizes[:n] == size) for n, size in enumerate(sizes)])
        most = max(1, place.max())
        spread = np.exp(0.12 * (place / most - 0.5)) if place.any() else 1.0
        axes.errorbar(sizes * spread, deltas, yerr=1.96 * errors, fmt="o", color=ACCENT, ms=4, lw=1, label=label)
        grid = np.geomspace(sizes.min() * 0.9, sizes.max() * 1.2, 100)
        if fit.get("b") is not None:
            axes.plot(grid, fit["a"] + fit["b"] / grid, color=INK, lw=1.2, label="fit a + b/B_E")
            mean = np.average(deltas, weights=sizes)
            axes.axhline(mean, color=INK, lw=0.8, ls=":", label="if it converges")
            anchor = deltas[sizes == sizes.min()].mean() * sizes.min()
            axes.plot(grid, anchor / grid, color=SECOND, lw=1, ls="--", label="if it scales as 1/B_E")
        axes.axhline(0, color=GREY, lw=0.6)
        axes.set(ylabel=f"δH₁ ({_unit(view)})")
        _batch_axis(axes, sizes)
        # Above, where no run can be hidden.
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    return draw_plot("δH₁ against B_E", reading, draw)


def _unit(view: ExperimentView) -> str:
    return view.unit.replace(" per ", "/")


def error_scaling(view: ExperimentView) -> Plot:
    """SE against B_E on log axes with the -1/2 line."""
    runs = view.runs[:: max(1, len(view.runs) // (4 * MOST_RUNS))]
    sizes = np.array([run["B_E"] for run in runs], dtype=float)
    errors = np.array([run["se_conditional"] for run in runs], dtype=float)
    check = view.checks.get("se_slope", {})
    slope = check.get("effect")
    words = {"pass": "falls as it should", "fail": "does NOT fall as it should", "inconclusive": "could not be decided"}
    reading = "one point per run"
    if slope is not None:
        reading = f"{words[check['verdict']]}: slope {slope - 0.5:.2f}, expected -0.5"
    reading = f"{reading}; the error {view.scope}"

    def draw(axes: Axes) -> None:
        # An update that moves nothing has errors of 0, which a logarithm has no place for.
        positive = errors > 0
        if positive.any():
            axes.loglog(sizes[positive], errors[positive], "o", color=ACCENT, ms=4, label="runs")
            grid = np.array([sizes.min(), sizes.max()])
            level = np.exp(np.mean(np.log(errors[positive] * np.sqrt(sizes[positive]))))
            axes.loglog(grid, level / np.sqrt(grid), color=INK, lw=1, label="slope -1/2")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            _plain_numbers(axes.yaxis)
            axes.legend()
        axes.set(ylabel=f"SE of δH₁ ({_unit(view)})")
        _batch_axis(axes, sizes)

    return draw_plot("Standard error against B_E", reading, draw)


def eta_sweep(sweep: dict[str, Any]) -> Plot:
    """Delta H(eta)/eta against eta, with delta_h1/eta at 0."""
    points = [point for point in sweep["points"] if point.get("slope") is not None]
    intercept, slope = sweep.get("intercept"), sweep.get("delta_h1_over_eta")
    reading = str(sweep.get("reading") or "")
    if intercept is not None and slope is not None:
        measure = format_measure(intercept, sweep.get("intercept_se"))
        numbers = f"intercept {measure} {FOR_THIS_UPDATE}, δH₁/η = {slope:.3g}"
        reading = f"{reading}; {numbers}" if reading else numbers

    def draw(axes: Axes) -> None:
        for trusted, color, label in ((True, ACCENT, "ΔH(η)/η, 95 % CI, this U"), (False, GREY, "not to be trusted")):
            chosen = [point for point in points if point.get("trusted", True) == trusted]
            if chosen:
                axes.errorbar(
                    [point["eta"] for point in chosen],
                    [point["slope"] for point in chosen],
                    yerr=[_bar(point.get("se")) for point in chosen],
                    fmt="o", color=color, ms=4, lw=1, label=label,
                )  # fmt: skip
        if intercept is not None:
            error = _bar(sweep.get("intercept_se"))
            axes.errorbar([0], [intercept], yerr=[error], fmt="s", color=INK, ms=4, lw=1, label="intercept of the fit")
        if slope is not None:
            axes.plot([0], [slope], "D", color=SECOND, ms=6, mfc="none", label="δH₁/η")
        if sweep.get("training_eta"):
            axes.axvline(sweep["training_eta"], color=INK, lw=0.8, ls=":", label="training η")
        axes.axhline(0, color=GREY, lw=0.6)
        axes.set(xlabel="η", ylabel="ΔH(η)/η")
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        axes.legend()

    return draw_plot("Entropy change against the step", reading or "ΔH(η)/η at each step", draw)


def scalars(view: ExperimentView) -> Plot:
    """Distribution of eta s_n, all runs together, and its tail against a normal one."""
    values = np.concatenate([run["eta"] * run["per_prompt"] for run in view.runs])
    spread = values.std()
    kurtosis = float(np.mean(((values - values.mean()) / spread) ** 4)) if spread > 0 else float("nan")
    tail_in_words = "heavy tail" if kurtosis > 6 else "no heavy tail" if kurtosis == kurtosis else "no spread"
    reading = (
        f"{tail_in_words}: kurtosis {kurtosis:.1f} (normal: 3) over {len(values)} prompts, mean {values.mean():.3g}, "
        f"sd {spread:.3g}"
    )

    def histogram(axes: Axes) -> None:
        axes.hist(values, bins=min(60, max(10, len(values) // 8)), color=ACCENT, alpha=0.8)
        axes.axvline(values.mean(), color=SECOND, lw=1.2, label="mean")
        axes.axvline(0, color=GREY, lw=0.6)
        axes.set(xlabel=f"η s_n ({_unit(view)})", ylabel="prompts", yscale="symlog")
        _plain_numbers(axes.yaxis)
        axes.legend()

    def tail(axes: Axes) -> None:
        from scipy.stats import norm

        far = np.sort(np.abs(values - values.mean()) / spread)[::-1]
        share = np.arange(1, len(far) + 1) / len(far)
        # Every one of the farthest, then fewer and fewer.
        shown = np.unique(np.geomspace(1, len(far), MOST_POINTS).astype(int)) - 1
        axes.loglog(far[shown], share[shown], "o", color=ACCENT, ms=3, label="seen")
        grid = np.linspace(0.5, max(4.0, float(far[0])), 200)
        normal = 2 * norm.sf(grid)
        kept = normal > 0.2 / len(far)
        axes.loglog(grid[kept], normal[kept], color=INK, lw=1, label="normal")
        axes.set(xlabel="distance from the mean (sd)", ylabel="share beyond", xlim=(0.5, None))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        _plain_numbers(axes.xaxis)
        _plain_numbers(axes.yaxis)
        axes.legend()

    return draw_plot("Per-prompt contributions and their tail", reading, histogram, *([tail] if spread > 0 else []))


def p_values(view: ExperimentView) -> Plot:
    """p-values of the checks against the uniform distribution."""
    checks = sorted((c for c in view.checks.values() if c["p_value"] is not None), key=lambda c: c["p_value"])
    # The chance that the smallest of so many uniform p-values is as small.
    chance = 1 - (1 - checks[0]["p_value"]) ** len(checks)
    reading = (
        f"smallest of {len(checks)} is p = {checks[0]['p_value']:.2g} ({checks[0]['name']}); if all is well, one so "
        f"small comes with probability {chance:.2g}"
    )

    def draw(axes: Axes) -> None:
        expected = (np.arange(len(checks)) + 0.5) / len(checks)
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, label="uniform")
        axes.plot(expected, [c["p_value"] for c in checks], "o", color=ACCENT, ms=5)
        for x, check in zip(expected, checks, strict=True):
            left = x > 0.5
            axes.annotate(
                check["name"], (x, check["p_value"]), fontsize=8, xytext=(-6 if left else 6, -3),
                textcoords="offset points", ha="right" if left else "left",
            )  # fmt: skip
        axes.set(xlabel="uniform quantile", ylabel="p", xlim=(0, 1.02), ylim=(-0.05, 1.05))

    return draw_plot("p-values of the checks", reading, draw)


def _bar(se: float | None) -> float:
    """Half a 95 % bar; none where there is no standard error."""
    return float("nan") if se is None else 1.96 * se
