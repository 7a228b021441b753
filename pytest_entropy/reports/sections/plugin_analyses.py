"""The section with other plugins' analyses."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class PluginAnalyses(Section):
    """The answer of each plugin, unchanged."""

    # Markup, so that the apostrophe is not escaped.
    title, order = Markup("Other plugins' analyses"), 1200

    def html(self, view: ExperimentView) -> Markup | None:
        """The answers by plugin; None if no plugin answered."""
        return fragment("plugin_analyses", analyses=view.plugin_analyses) if view.plugin_analyses else None


SECTION = PluginAnalyses()
