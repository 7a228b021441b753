"""The figure of the runs' cost: time by phase and B_E, and memory by phase."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.records.run import RunRecord
from pytest_entropy.reports.plot import ACCENT, GREY, SECOND, Plot, draw_plot
from pytest_entropy.reports.view import ExperimentView

PHASES = (ACCENT, GREY, SECOND, "#6a994e", "#7b5ea7", "#b08900")


def cost_figure(view: ExperimentView) -> Plot:
    """Mean time of a run by phase and B_E (s), and the largest memory by phase (MiB)."""
    runs = view.runs
    names = list(dict.fromkeys(name for run in runs for name in run.seconds))
    sizes = sorted({run.B_E for run in runs})
    of = {size: [run for run in runs if size == run.B_E] for size in sizes}
    labels = [f"{size}" for size in sizes]
    total = sum(sum(run.seconds.values()) for run in runs)
    peak = max(run.peak_memory_mb for run in runs)
    slowest = max(names, key=lambda name: sum(_seconds(runs, name))).replace("_", " ")
    many = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    held = _by_phase(runs, names)
    where = f", in {max(held, key=lambda name: held[name])}" if held else ""
    reading = f"{total:.1f} s for {many}, most of it {slowest}; peak memory of a process {peak:.0f} MiB{where}"

    def seconds(axes: Axes) -> None:
        left = np.zeros(len(sizes))
        for n, name in enumerate(names):
            width = np.array([sum(_seconds(of[size], name)) / len(of[size]) for size in sizes])
            axes.barh(labels, width, left=left, label=name.replace("_", " "), color=PHASES[n % len(PHASES)])
            left += width
        axes.set(xlabel="seconds a run", ylabel="B_E")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)

    def memory(axes: Axes) -> None:
        if held:
            colours = [PHASES[n % len(PHASES)] for n, name in enumerate(names) if name.replace("_", " ") in held]
            axes.barh(list(held), list(held.values()), color=colours)
            axes.invert_yaxis()
            axes.set(xlabel="most memory held (MiB)")
            return
        axes.barh(labels, [max(run.peak_memory_mb for run in of[size]) for size in sizes], color=GREY)
        axes.set(xlabel="peak memory (MiB)", ylabel="B_E")

    return draw_plot("Time and memory by phase", reading, seconds, memory)


def _by_phase(runs: Sequence[RunRecord], names: Sequence[str]) -> dict[str, float]:
    """The largest memory of any run by phase in words, MiB; empty for old results without memory by phase."""
    noted = {name: [run.memory_mb[name] for run in runs if name in run.memory_mb] for name in names}
    return {name.replace("_", " "): max(values) for name, values in noted.items() if values}


def _seconds(runs: Sequence[RunRecord], name: str) -> list[float]:
    """Seconds in a phase, of each run that had the phase."""
    return [run.seconds[name] for run in runs if name in run.seconds]
