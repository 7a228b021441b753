"""The section on what the runs cost, by phase."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.figures.cost import cost_figures
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.sections.figures import in_rows
from pytest_entropy.reports.view import ExperimentView


class CostSection(Section):
    """Seconds and memory of the runs, after what they found."""

    title, order = "Cost", 950

    def html(self, view: ExperimentView) -> Markup | None:
        """The figures of time and memory; None without runs."""
        return fragment("figures", plots=in_rows(list(cost_figures(view)))) if view.runs else None


SECTION = CostSection()
