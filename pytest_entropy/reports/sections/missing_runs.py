"""The section with the planned runs that left nothing."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class MissingRuns(Section):
    """Names of runs without a result and without an error."""

    title, order = "Missing runs", 600

    def html(self, view: ExperimentView) -> Markup | None:
        """Which runs are missing, where any is."""
        return fragment("missing_runs", missing=view.missing) if view.missing else None


SECTION = MissingRuns()
