"""The folded section with the prompts whose entropy falls and rises most along the update."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView

ENDS = {"lowest": "Entropy falls most", "highest": "Entropy rises most, or falls least"}


class RolloutsSection(Section):
    """Prompts, some responses with their rewards, and s_n."""

    title, order = "Rollouts at both ends", 850

    def html(self, view: ExperimentView) -> Markup | None:
        """The prompts with the lowest and the highest s_n; None where no run has stored any."""
        if view.rollouts is None:
            return None
        ends = {
            words: [one for one in view.rollouts.prompts if one.extreme == extreme] for extreme, words in ENDS.items()
        }
        return fragment("rollouts", rollouts=view.rollouts, ends=ends)


SECTION = RolloutsSection()
