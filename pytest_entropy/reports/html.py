"""Render ``report.html``, one self-contained file per experiment, from the experiment's directory alone."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.reports.pages import page
from pytest_entropy.reports.questions import answer_in_words, question
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView


def render(view: ExperimentView) -> str:
    """The page of an experiment's report.

    Raises:
        UsageError: a section raised an error; names the section.
    """
    checkpoint = view.manifest.checkpoint
    return page(
        "report.html",
        view=view,
        question=question(view),
        answer=answer_in_words(view),
        checkpoint="bundled demo checkpoint" if checkpoint == "demo" else f"checkpoint {checkpoint}",
        sections=[
            (section.heading(view), section.tone, body)
            for name, section in sections()
            if (body := _body(name, section, view)) is not None
        ],
    )


def sections() -> list[tuple[str, Section]]:
    """All registered sections with their names, in the order of a report."""
    known = [(name, registry.get("report_sections", name, Section)) for name in registry.names("report_sections")]
    return sorted(known, key=lambda entry: (entry[1].order, entry[0]))


def _body(name: str, section: Section, view: ExperimentView) -> Markup | None:
    """The HTML of one section; its error becomes a usage error with the section's name."""
    try:
        return section.html(view)
    except Exception as error:
        raise UsageError(f"report section {name!r}: {type(error).__name__}: {error}") from error
