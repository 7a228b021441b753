"""The section with mean delta_h1 and its errors by B_E."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.tables import size_table
from pytest_entropy.reports.view import ExperimentView


class BatchSizesSection(Section):
    """The table of the terminal's summary."""

    title, order = "δH₁ by batch size", 300

    def html(self, view: ExperimentView) -> Markup | None:
        """The table with a row per B_E; None without runs."""
        return fragment("batch_sizes", table=size_table(view)) if view.runs else None


SECTION = BatchSizesSection()
