"""The section with the figures of an experiment's result and checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from pytest_entropy.reports.figures.error_scaling import error_scaling_figure
from pytest_entropy.reports.figures.eta_sweep import eta_sweep_figure
from pytest_entropy.reports.figures.p_values import p_values_figure
from pytest_entropy.reports.figures.scalars import scalars_figures
from pytest_entropy.reports.figures.scaling import scaling_figure
from pytest_entropy.reports.figures.updates import updates_figure
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.plot import Plot
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView

FIGURES = (scaling_figure, updates_figure, error_scaling_figure, eta_sweep_figure)


class Figures(Section):
    """All figures side by side."""

    title, order = "Figures", 700

    def html(self, view: ExperimentView) -> Markup | None:
        """The figures; None if there is none."""
        drawn = list(plots(view))
        return fragment("figures", plots=in_rows(drawn)) if drawn else None


def plots(view: ExperimentView) -> Iterator[Plot]:
    """The figures for which the experiment has data."""
    if not view.runs:
        return
    yield from (plot for draw in FIGURES if (plot := draw(view)) is not None)
    yield from scalars_figures(view)
    p_values = p_values_figure(view)
    if p_values is not None:
        yield p_values


def in_rows(plots: Sequence[Plot]) -> list[tuple[Plot, int]]:
    """Each figure with the number of figures of its row: rows of two, then of three, so that none has a hole.

    >>> plot = Plot("", "", "")
    >>> [[in_row for _, in_row in in_rows([plot] * n)] for n in (1, 2, 3, 5, 7)]
    [[1], [2, 2], [3, 3, 3], [2, 2, 3, 3, 3], [2, 2, 2, 2, 3, 3, 3]]

    Args:
        plots: in their order.
    """
    count = len(plots)
    # Even numbers fill rows of two, odd ones end with a row of three.
    threes = 0 if count % 2 == 0 or count == 1 else 3
    widths = [1] if count == 1 else [2] * (count - threes) + [3] * threes
    return list(zip(plots, widths, strict=True))


SECTION = Figures()
