"""The section with the tests that failed and their reasons."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class FailedTests(Section):
    """A line per failed test; of an assertion in a user's own experiment there is no other record."""

    title, order, tone = "Failed tests", 500, "fail"

    def html(self, view: ExperimentView) -> Markup | None:
        """Names and reasons, folded where runs failed, which is why the tests did; None if no test failed."""
        return (
            fragment("failed_tests", items=view.failed_items, fold=bool(view.failures)) if view.failed_items else None
        )


SECTION = FailedTests()
