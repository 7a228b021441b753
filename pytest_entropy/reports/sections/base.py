"""The base class of the sections of ``report.html``."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.view import ExperimentView


class Section:
    """One section of an experiment's report.

    Attributes:
        title: text of its heading; empty for a section without one.
        order: the section's position: sections are sorted by it; the built-in ones have 100 to 1400.
        tone: ``fail`` or ``inconclusive`` colours the heading.
    """

    title: str = ""
    order: int = 0
    tone: str = ""

    def heading(self, view: ExperimentView) -> str:
        """The heading in the report of ``view``."""
        return self.title

    def html(self, view: ExperimentView) -> Markup | None:
        """The HTML below the heading; None leaves the section out.

        Raises:
            NotImplementedError: the subclass does not define it.
        """
        raise NotImplementedError
