"""The section with other plugins' analyses."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class PluginAnalyses(Section):
    """Each plugin's answer as it gave it."""

    # Written by hand: an apostrophe need not be escaped.
    title, order = Markup("Other plugins' analyses"), 1200

    def html(self, view: ExperimentView) -> Markup | None:
        """The answers by plugin, where any answered."""
        return fragment("plugin_analyses", analyses=view.plugin_analyses) if view.plugin_analyses else None


SECTION = PluginAnalyses()
