"""What a report answers: the question of each kind of experiment, and the answer's first word."""

from __future__ import annotations

from pytest_entropy.reports.view import ExperimentView

QUESTIONS = {
    "single_run": "How will the entropy change at the next step?",
    "sanity_check": "Can the probe be trusted here?",
    "batch_scaling": "Does δH₁ converge as B_E grows?",
    "memory_scaling": "Does memory stay flat as B_E grows?",
    "debug": "What do all diagnostics show?",
}
# The badge says these.
SAID_BY_THE_BADGE = ("FAILED: ", "INCONCLUSIVE: ", "FAILED ", "INCONCLUSIVE ")


def question(view: ExperimentView) -> str:
    """The question that the experiment answers; the name of a user's own experiment."""
    return QUESTIONS.get(view.name, view.name)


def answer_in_words(view: ExperimentView) -> str:
    """The headline without the word that the badge says.

    Args:
        view: an experiment.
    """
    for word in SAID_BY_THE_BADGE:
        if view.headline.startswith(word):
            return view.headline[len(word) :]
    return view.headline
