"""The report's figures: each an inline SVG with a title, an alternative text and a one-line reading."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from pytest_entropy.results.view import ExperimentView
from pytest_entropy.stats import format_measure

INK, ACCENT, SECOND = "#2b3a4a", "#1f6fb2", "#c4562f"
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Identical bytes for identical data.
    "svg.hashsalt": "pytest-entropy",
    "svg.fonttype": "path",
}


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
    if view.runs:
        if len({run["B_E"] for run in view.runs}) > 1:
            yield scaling(view)
            yield error_scaling(view)
        yield scalars(view)
        if [check for check in view.checks.values() if check["p_value"] is not None]:
            yield p_values(view)
        yield phases(view)


def _plot(title: str, reading: str, draw: Callable[[Axes], None]) -> Plot:
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.3), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = stream.getvalue()
    return Plot(title, reading, text[text.index("<svg") :])


def scaling(view: ExperimentView) -> Plot:
    """delta_h1 against B_E with the fit and both hypotheses."""
    sizes = np.array([run["B_E"] for run in view.runs], dtype=float)
    deltas = np.array([run["delta_h1"] for run in view.runs])
    errors = np.array([run["se_conditional"] for run in view.runs])
    fit: dict[str, Any] = view.analysis.get("fit") or {}
    verdict = view.analysis.get("verdict", "no verdict")
    reading = verdict
    if fit.get("b") is not None:
        reading = f"{verdict}: a = {format_measure(fit['a'], fit['se_a'])}, b = {format_measure(fit['b'], fit['se_b'])}"

    def draw(axes: Axes) -> None:
        # Runs at one B_E stand side by side.
        spread = np.exp(0.04 * np.array([run["run"] - 1 for run in view.runs]))
        axes.errorbar(
            sizes * spread, deltas, yerr=1.96 * errors, fmt="o", color=ACCENT, ms=4, lw=1, label="runs, 95 % CI"
        )
        grid = np.geomspace(sizes.min() * 0.9, sizes.max() * 1.2, 100)
        if fit.get("b") is not None:
            axes.plot(grid, fit["a"] + fit["b"] / grid, color=INK, lw=1.2, label="a + b/B_E")
            mean = np.average(deltas, weights=sizes)
            axes.axhline(mean, color=INK, lw=0.8, ls=":", label="converges")
            anchor = deltas[sizes == sizes.min()].mean() * sizes.min()
            axes.plot(grid, anchor / grid, color=SECOND, lw=0.8, ls="--", label="scales as 1/B_E")
        axes.axhline(0, color="#999999", lw=0.6)
        axes.set(xscale="log", xlabel="B_E (prompts)", ylabel="δH₁ (nats/response)")
        axes.set_xticks(sorted(set(sizes)), [f"{int(size)}" for size in sorted(set(sizes))])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, fontsize=8)

    return _plot("δH₁ against B_E", reading, draw)


def error_scaling(view: ExperimentView) -> Plot:
    """SE against B_E on log axes with the -1/2 line."""
    sizes = np.array([run["B_E"] for run in view.runs], dtype=float)
    errors = np.array([run["se_conditional"] for run in view.runs])
    check = view.checks.get("se_slope", {})
    slope = check.get("effect")
    reading = "SE per run" if slope is None else f"slope {slope:.2f}, expected -0.5: {check['verdict']}"

    def draw(axes: Axes) -> None:
        axes.loglog(sizes, errors, "o", color=ACCENT, ms=4, label="runs")
        grid = np.array([sizes.min(), sizes.max()])
        level = np.exp(np.mean(np.log(errors * np.sqrt(sizes))))
        axes.loglog(grid, level / np.sqrt(grid), color=INK, lw=1, label="slope -1/2")
        axes.set(xlabel="B_E (prompts)", ylabel="SE of δH₁ (nats/response)")
        axes.set_xticks(sorted(set(sizes)), [f"{int(size)}" for size in sorted(set(sizes))])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, fontsize=8)

    return _plot("Standard error against B_E", reading, draw)


def scalars(view: ExperimentView) -> Plot:
    """Distribution of eta s_n, all runs together, with its tail."""
    values = np.concatenate([run["eta"] * np.asarray(run["per_prompt"]) for run in view.runs])
    spread = values.std()
    kurtosis = float(np.mean(((values - values.mean()) / spread) ** 4)) if spread > 0 else float("nan")
    reading = f"{len(values)} prompts: mean {values.mean():.3g}, sd {spread:.3g}, kurtosis {kurtosis:.1f} (normal: 3)"

    def draw(axes: Axes) -> None:
        axes.hist(values, bins=min(60, max(10, len(values) // 8)), color=ACCENT, alpha=0.8)
        axes.axvline(values.mean(), color=SECOND, lw=1.2, label="mean")
        axes.axvline(0, color="#999999", lw=0.6)
        axes.set(xlabel="η s_n (nats/response)", ylabel="prompts", yscale="symlog")
        axes.legend(frameon=False, fontsize=8)

    return _plot("Per-prompt contributions", reading, draw)


def p_values(view: ExperimentView) -> Plot:
    """p-values of the checks against the uniform distribution."""
    checks = sorted((c for c in view.checks.values() if c["p_value"] is not None), key=lambda c: c["p_value"])
    reading = f"{len(checks)} checks, smallest p = {checks[0]['p_value']:.2g} ({checks[0]['name']})"

    def draw(axes: Axes) -> None:
        expected = (np.arange(len(checks)) + 0.5) / len(checks)
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, label="uniform")
        axes.plot(expected, [c["p_value"] for c in checks], "o", color=ACCENT, ms=5)
        for x, check in zip(expected, checks, strict=True):
            axes.annotate(check["name"], (x, check["p_value"]), fontsize=7, xytext=(4, -9), textcoords="offset points")
        axes.set(xlabel="uniform quantile", ylabel="p", xlim=(0, 1.25), ylim=(-0.05, 1.05))

    return _plot("p-values of the checks", reading, draw)


def phases(view: ExperimentView) -> Plot:
    """Mean time by phase, and peak memory."""
    names = list(view.runs[0]["seconds"])
    sizes = sorted({run["B_E"] for run in view.runs})
    table = {
        name: [np.mean([run["seconds"][name] for run in view.runs if run["B_E"] == size]) for size in sizes]
        for name in names
    }
    memory = max(run["peak_memory_mb"] for run in view.runs)
    total = sum(sum(run["seconds"].values()) for run in view.runs)
    reading = f"{total:.1f} s for {len(view.runs)} runs, peak memory {memory:.0f} MiB"

    def draw(axes: Axes) -> None:
        left = np.zeros(len(sizes))
        for name, color in zip(names, (ACCENT, "#8a9bab", SECOND, "#6a994e"), strict=False):
            axes.barh([f"B_E {size}" for size in sizes], table[name], left=left, label=name, color=color)
            left += np.array(table[name])
        axes.set(xlabel="seconds a run")
        axes.legend(frameon=False, fontsize=8)

    return _plot("Time by phase", reading, draw)
