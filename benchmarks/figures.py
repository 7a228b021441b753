"""One picture of a benchmark: seconds by method, what each part contributes, cost and memory against B_E."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(record: dict[str, Any], path: Path) -> None:
    """Four panels from the record of :mod:`.run`, as PNG."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), constrained_layout=True)
    _seconds(axes[0, 0], record)
    _attribution(axes[0, 1], record["attribution"])
    _linear(axes[1, 0], record["against_B_E"])
    _memory(axes[1, 1], record["memory"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _seconds(ax: Any, record: dict[str, Any]) -> None:
    rows = {name: s["median"] for name, s in record["seconds"].items()}
    rows = dict(sorted(rows.items(), key=lambda row: row[1]))
    ours = ("sampling", f"hooks, {record['default_estimator']}")
    ax.barh(list(rows), list(rows.values()), color=["tab:blue" if name in ours else "0.7" for name in rows])
    ax.set(xlabel="seconds (median)", title=f"B_E = {record['B_E']}; a run is the two blue bars")


def _attribution(ax: Any, parts: dict[str, float]) -> None:
    names = list(parts)[::-1]
    ax.barh(names, [parts[name] for name in names], color="tab:green")
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set(xlabel="factor off seconds × SE²", title="what each part contributes")


def _linear(ax: Any, against: dict[str, Any]) -> None:
    sizes = [int(size) for size in against["seconds"]]
    fit = against["fit"]
    ax.plot(sizes, [s["median"] for s in against["seconds"].values()], "o")
    ax.plot(sizes, [fit["intercept"] + fit["slope"] * size for size in sizes], "-", label=f"R² = {fit['r2']:.4f}")
    ax.set(xlabel="B_E", ylabel="seconds", title="cost of a run")
    ax.legend()


def _memory(ax: Any, memory: dict[str, Any]) -> None:
    peaks = memory["peak_mb"]
    ax.bar(list(peaks), [s["median"] for s in peaks.values()], color="0.7")
    ax.axhline(memory["loaded_mb"]["median"], linestyle=":", label="after loading and the update")
    ax.set(xlabel="B_E", ylabel="peak resident MiB", title="memory of a run")
    ax.legend()
