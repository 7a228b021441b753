"""The section with the error of each failed run."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.records.error_text import directory_in, traceback_in
from pytest_entropy.records.paths import CONFIG, ERROR, LOG, UPDATE
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
        ordered = sorted(own, key=lambda entry: (entry[0] != UPDATE, entry[0]))
        failed = [(name, traceback_in(text), _files(view, name)) for name, text in ordered[:MOST_ERRORS]]
        return fragment("failed_runs", failed=failed)


def _files(view: ExperimentView, run: str) -> list[str]:
    return [name for name in (ERROR, CONFIG, LOG) if (view.directory / run / name).is_file()]


SECTION = FailedRuns()
