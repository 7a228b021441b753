"""What every section of ``report.html`` is."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.view import ExperimentView


class Section:
    """One section of an experiment's report.

    Attributes:
        title: what its heading says; empty for a section without one.
        order: sections stand in increasing order; the built-in ones have 100, 200, ... 1400.
        tone: ``fail`` or ``inconclusive`` colours the heading.
    """

    title: str = ""
    order: int = 0
    tone: str = ""

    def heading(self, view: ExperimentView) -> str:
        """The heading in this report."""
        return self.title

    def html(self, view: ExperimentView) -> Markup | None:
        """What stands below the heading; None leaves the section out."""
        raise NotImplementedError
