"""The section with mean delta_h1 and its errors by B_E."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.glossary import of_effect
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.tables import SizeTable, size_table
from pytest_entropy.reports.view import ExperimentView


class BatchSizesSection(Section):
    """The table of the terminal's summary, with a sentence for each quantity."""

    title, order = "δH₁ by batch size", 300

    def html(self, view: ExperimentView) -> Markup | None:
        """The table with a row per B_E; None without runs."""
        if not view.runs:
            return None
        table = size_table(view)
        return fragment("batch_sizes", table=table, head=_head(table), readings=of_effect(view, both=table.both))


def _head(table: SizeTable) -> list[str]:
    over_u = ["± over U"] if table.both else []
    return ["B_E", "runs", f"mean δH₁ ± SE ({table.unit})", *over_u, "|SE/δH₁| of a run", "seconds a run"]


SECTION = BatchSizesSection()
