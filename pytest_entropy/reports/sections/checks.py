"""The section with the outcome of each check."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.reach import left_open
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class Checks(Section):
    """A row per check: verdict, p-value, effect, and the expectation."""

    title, order = "Checks", 800

    def html(self, view: ExperimentView) -> Markup | None:
        """The table of checks; None without checks."""
        return fragment("checks", checks=list(view.checks.values()), left_open=left_open(view)) if view.checks else None


SECTION = Checks()
