"""The figures of the runs' cost: time by phase and B_E, and memory by phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from pytest_entropy.records.run import RunRecord
from pytest_entropy.reports.plot import GREY, Plot, draw_plot, legend_above, phase_colours
from pytest_entropy.reports.view import ExperimentView

# Bars are as thick as with so many of them.
FEWEST_ROWS = 4
TIME = "The length of a bar is the mean time of a run at that B_E; a phase has the same colour in both figures."
MEMORY = "What the process held at most until the end of the phase: a later phase shows at least an earlier one's."


def cost_figures(view: ExperimentView) -> Iterator[Plot]:
    """Mean time of a run by phase and B_E (s), and the largest memory by phase (MiB).

    Args:
        view: an experiment with runs.
    """
    names = list(dict.fromkeys(name for run in view.runs for name in run.seconds))
    yield _time_figure(view.runs, names)
    yield _memory_figure(view.runs, names)


def _time_figure(runs: Sequence[RunRecord], names: Sequence[str]) -> Plot:
    of = {size: [run for run in runs if size == run.B_E] for size in sorted({run.B_E for run in runs})}
    total = sum(sum(run.seconds.values()) for run in runs)
    slowest = max(names, key=lambda name: sum(_seconds(runs, name)), default="not recorded").replace("_", " ")
    colours = phase_colours(names)

    def draw(axes: Axes) -> None:
        left = np.zeros(len(of))
        for name in names:
            width = np.array([sum(_seconds(some, name)) / len(some) for some in of.values()])
            label = name.replace("_", " ")
            axes.barh([f"{size}" for size in of], width, left=left, label=label, color=colours[name])
            left += width
        axes.set(xlabel="seconds a run", ylabel="B_E (prompts)")
        _with_room(axes, len(of))
        legend_above(axes, columns=3)

    many = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    return draw_plot("Time by phase", f"{total:.1f} s for {many}, most of it {slowest}", draw, how=TIME)


def _memory_figure(runs: Sequence[RunRecord], names: Sequence[str]) -> Plot:
    noted = {name: [run.memory_mb[name] for run in runs if name in run.memory_mb] for name in names}
    held = {name: max(values) for name, values in noted.items() if values}
    peak = max(run.peak_memory_mb for run in runs)
    where = f", in {max(held, key=lambda name: held[name]).replace('_', ' ')}" if held else ""
    colours = phase_colours(names)
    sizes = sorted({run.B_E for run in runs})

    def draw(axes: Axes) -> None:
        if held:
            labels = [name.replace("_", " ") for name in held]
            axes.barh(labels, list(held.values()), color=[colours[name] for name in held])
            axes.invert_yaxis()
            axes.set(xlabel="most memory held (MiB)")
            return
        # Old results have no memory by phase.
        most = [max(run.peak_memory_mb for run in runs if size == run.B_E) for size in sizes]
        axes.barh([f"{size}" for size in sizes], most, color=GREY)
        axes.set(xlabel="peak memory (MiB)", ylabel="B_E (prompts)")
        _with_room(axes, len(sizes))

    return draw_plot("Memory by phase", f"peak memory of a process {peak:.0f} MiB{where}", draw, how=MEMORY)


def _with_room(axes: Axes, rows: int) -> None:
    """Leave room beside a few bars, so that they are no thicker than others."""
    room = max(0.0, (FEWEST_ROWS - rows) / 2)
    axes.set_ylim(-0.5 - room, rows - 0.5 + room)


def _seconds(runs: Sequence[RunRecord], name: str) -> list[float]:
    """Seconds in a phase, of each run that had the phase."""
    return [run.seconds[name] for run in runs if name in run.seconds]
