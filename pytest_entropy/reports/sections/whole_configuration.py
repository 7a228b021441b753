"""The folded section with the whole configuration."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.sections.settings import settings_of
from pytest_entropy.reports.view import ExperimentView


class WholeConfiguration(Section):
    """Every setting with its source; the folded element's summary line is its heading."""

    order = 1300

    def html(self, view: ExperimentView) -> Markup | None:
        """All settings; None if no configuration was stored."""
        every = settings_of(view)
        return fragment("whole_configuration", settings=every) if every else None


SECTION = WholeConfiguration()
