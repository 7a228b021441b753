"""The section with the versions of the packages on which results may depend."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class Environment(Section):
    """Packages and their versions."""

    title, order = "Environment", 1400

    def html(self, view: ExperimentView) -> Markup | None:
        """The versions of the session that began the experiment."""
        return fragment("environment", environment=view.manifest.environment)


SECTION = Environment()
