"""The section on prompts that are not those of the trainer's log."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.records.run import OF_THE_LOG
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


class PromptsOfTheLog(Section):
    """How the prompts differ from those that the trainer logged."""

    title, order = "Prompts of another form than the trainer's", 150

    def html(self, view: ExperimentView) -> Markup | None:
        """The runs' notes on it, each once; None where the prompts are the log's or there is no log."""
        notes = dict.fromkeys(note for run in view.runs for note in run.notes if OF_THE_LOG in note)
        return Markup("").join(Markup('<p class="inconclusive">{}</p>\n').format(note) for note in notes) or None


SECTION = PromptsOfTheLog()
