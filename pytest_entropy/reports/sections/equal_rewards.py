"""The section on an update batch whose rewards are equal within every group, with a sample of its responses."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.records.update import equal_rewards
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class EqualRewards(Section):
    """Which rewards are equal, and a sample of what was rewarded."""

    title, order = "Equal rewards", 200

    def html(self, view: ExperimentView) -> Markup | None:
        """A sample of the first update with equal rewards in every group, or of each term; None if there is none."""
        equal = equal_rewards(view.still.rewards) if view.still else None
        parts = [] if view.still is None or equal is None else [(equal, view.still.sample)]
        parts += [
            (f"reward {term.name} adds nothing to the update: {term.equal}", term.sample) for term in view.still_terms
        ]
        return fragment("equal_rewards", parts=parts) if parts else None


SECTION = EqualRewards()
