"""The section with a row per run, and links to all files."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.records.paths import COMPARISON, CONFIG, LOG, SUMMARY, SUMMARY_TEXT, TABLE, UPDATE, UPDATE_RECORD
from pytest_entropy.records.summary import RunRow
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView

# Rows shown at most, to keep the page readable.
MOST_ROWS = 500


class RunsSection(Section):
    """The measurement and the cost of each run."""

    title, order = "Runs", 900

    def heading(self, view: ExperimentView) -> str:
        """The title; without a run there are only files."""
        return self.title if view.runs else "Files"

    def html(self, view: ExperimentView) -> Markup | None:
        """The table of the first runs, and links to the experiment's files that exist."""
        rows = [RunRow.of(run, view.name) for run in view.runs[:MOST_ROWS]]
        # They are written together with the report, so they always exist.
        always = [TABLE, SUMMARY, SUMMARY_TEXT]
        update = [f"{UPDATE}/{name}" for name in (CONFIG, LOG, UPDATE_RECORD)]
        others = [*update, COMPARISON, view.analysis_file]
        return fragment(
            "runs",
            rows=rows,
            count=len(view.runs),
            scope=view.scope,
            unit=view.unit,
            both=any(row.second_error for row in rows),
            artefacts=always + [name for name in others if (view.directory / name).exists()],
            left_out=max(0, len(view.runs) - MOST_ROWS),
        )


SECTION = RunsSection()
