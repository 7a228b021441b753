"""The section with the figures of an experiment's runs and checks."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from pytest_entropy.reports.figures.cost import cost_figure
from pytest_entropy.reports.figures.error_scaling import error_scaling_figure
from pytest_entropy.reports.figures.eta_sweep import eta_sweep_figure
from pytest_entropy.reports.figures.memory_scaling import memory_scaling_figure
from pytest_entropy.reports.figures.p_values import p_values_figure
from pytest_entropy.reports.figures.scalars import scalars_figure
from pytest_entropy.reports.figures.scaling import scaling_figure
from pytest_entropy.reports.figures.updates import updates_figure
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.plot import Plot
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView

FIGURES = (
    scaling_figure, updates_figure, error_scaling_figure, eta_sweep_figure, scalars_figure, p_values_figure,
    memory_scaling_figure, cost_figure,
)  # fmt: skip


class Figures(Section):
    """All figures side by side."""

    title, order = "Figures", 700

    def html(self, view: ExperimentView) -> Markup | None:
        """The figures; None if there is none."""
        drawn = list(plots(view))
        return fragment("figures", plots=drawn) if drawn else None


def plots(view: ExperimentView) -> Iterator[Plot]:
    """The figures for which the experiment has data."""
    for draw in FIGURES if view.runs else ():
        plot = draw(view)
        if plot is not None:
            yield plot


SECTION = Figures()
