"""The section with the tests that failed and their reasons."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.gate_reason import gate_reason
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class FailedTests(Section):
    """A line per failed test; of an assertion in a user's own experiment there is no other record."""

    title, order, tone = "Failed tests", 500, "fail"

    def html(self, view: ExperimentView) -> Markup | None:
        """Names and reasons, of which the gate's is not said twice; folded where runs failed, which is why."""
        gate = gate_reason(view.comparison) if view.comparison else ""
        at_the_top = gate if gate and gate in view.headline else None
        items = {
            name: "the reason is at the top" if reason.removeprefix("INCONCLUSIVE: ") == at_the_top else reason
            for name, reason in view.failed_items.items()
        }
        return fragment("failed_tests", items=items, fold=bool(view.failures)) if items else None


SECTION = FailedTests()
