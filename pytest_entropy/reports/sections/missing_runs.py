"""The section with the planned runs that have neither result nor error."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class MissingRuns(Section):
    """The names of the missing runs."""

    title, order = "Missing runs", 600

    def html(self, view: ExperimentView) -> Markup | None:
        """The list of missing runs; None if none is missing."""
        return fragment("missing_runs", missing=view.missing) if view.missing else None


SECTION = MissingRuns()
