"""The section with the error of each failed run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pytest_entropy.records.attempts import earlier_errors
from pytest_entropy.records.error_text import directory_in, sentence_in, traceback_in
from pytest_entropy.records.paths import CONFIG, ERROR, LOG, is_update_directory
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView

# Errors shown at most, to keep the page readable.
MOST_ERRORS = 500


class FailedRuns(Section):
    """Tracebacks, with links to the run's files."""

    title, order, tone = "Failed runs", 400, "fail"

    def html(self, view: ExperimentView) -> Markup | None:
        """The error texts, first that of the update batch, which makes all runs fail; None without failures.

        Runs that failed because another directory did are not listed again.
        """
        if not view.failures:
            return None
        own = [entry for entry in view.failures.items() if directory_in(entry[1]) not in view.failures]
        ordered = sorted(own, key=lambda entry: (not is_update_directory(entry[0]), entry[0]))
        failed = [(name, text, _files(view, name)) for name, text in ordered[:MOST_ERRORS]]
        return fragment("failed_runs", groups=_by_reason(failed))


@dataclass
class Group:
    """The traceback of the first of the runs that failed for one reason, and the names of all with their files."""

    text: str
    runs: list[tuple[str, list[str]]]


def _by_reason(failed: Sequence[tuple[str, str, list[str]]]) -> list[Group]:
    """Runs that failed for one reason show one traceback, whatever was wrapped around it."""
    groups: dict[str, Group] = {}
    for name, text, files in failed:
        reason = sentence_in(text)
        known = next((key for key in groups if key and reason.endswith(key)), reason)
        groups.setdefault(known, Group(traceback_in(text), [])).runs.append((name, files))
    return list(groups.values())


def _files(view: ExperimentView, run: str) -> list[str]:
    place = view.directory / run
    return [name for name in (ERROR, *earlier_errors(place), CONFIG, LOG) if (place / name).is_file()]


SECTION = FailedRuns()
