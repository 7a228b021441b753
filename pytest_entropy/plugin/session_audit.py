"""The audit at session end: which reports of a session are read a second time, and what the session shows besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.records.collection import uncollected
from pytest_entropy.records.item import ItemReport
from pytest_entropy.records.paths import TABLE
from pytest_entropy.reports.audit.experiment import Shown, audit
from pytest_entropy.reports.audit.gate import saved_baseline
from pytest_entropy.reports.audit.items import ReportedItem, item_numbers, junit_items
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.report import session_page
from pytest_entropy.reports.audit.rows import read_table
from pytest_entropy.reports.audit.session_rows import rows_of_page
from pytest_entropy.reports.audit.stored_run import Before, KnownRuns, StoredRun, look_before, read_stored
from pytest_entropy.reports.tables import size_table
from pytest_entropy.reports.terminal import live_line, table_lines

if TYPE_CHECKING:
    from pytest_entropy.reports.view import ExperimentView

# The gate's test item (plugin/regression_item.py), which writes the comparison.
GATE_ITEM = "against_baseline"


class SessionAudit:
    """Reads a session's reports a second time.

    Args:
        items: the session's item reports.
        properties: the properties of each item as they were reported, by node id.
        baseline: the file of the baseline that the session compares with; None without a comparison.
    """

    def __init__(
        self,
        items: Iterable[ItemReport],
        properties: Mapping[str, Sequence[tuple[str, Any]]],
        baseline: Path | None = None,
    ) -> None:
        self._items, self._properties, self._baseline = list(items), properties, baseline
        self._before: dict[Path, Before] = {}
        # The same runs stand behind reports, pages, baselines and JUnit.
        self._known: KnownRuns = {}
        # Discrepancies found so far, in words.
        self.found: list[str] = []

    def look_before(self, directory: Path) -> None:
        """Note what an experiment's directory holds; to be called before its reports are made."""
        self._before[directory] = look_before(directory)

    @uncollected()
    def experiment(self, view: ExperimentView) -> None:
        """Audit the reports of an experiment, once they are written."""
        items = [item for item in self._items if item.directory and Path(item.directory) == view.directory]
        compared = any(item.name == GATE_ITEM and item.verdict != "NOT COMPARED" for item in items)
        shown = Shown(
            terminal=table_lines(size_table(view)) if view.runs else (),
            items=[ReportedItem.of(item.name, self._properties.get(item.nodeid, ())) for item in items],
            live={item.name: live_line(item) for item in items if item.delta_h1 is not None},
            baseline=self._baseline if compared else None,
        )
        self.found += audit(view.directory, self._before[view.directory], shown, self._known)

    @uncollected()
    def index(self, page: Path, views: Sequence[ExperimentView]) -> None:
        """Audit the session's page, once it is written."""
        ledger = Ledger()
        session_page(ledger, page, [listed_runs(view.directory, self._known) for view in views])
        rows_of_page(ledger, page, self._listed(views))
        self.found += ledger.lines()

    @uncollected()
    def overview(self, page: Path, views: Sequence[ExperimentView]) -> list[str]:
        """Discrepancies of the session's experiments on the page over all sessions; none without a page."""
        ledger = Ledger()
        if page.is_file():
            rows_of_page(ledger, page, self._listed(views))
        return ledger.lines()

    def _listed(self, views: Sequence[ExperimentView]) -> dict[Path, dict[str, StoredRun]]:
        return {view.directory: listed_runs(view.directory, self._known) for view in views}

    @uncollected()
    def baselines(self, files: Iterable[Path], views: Sequence[ExperimentView]) -> list[str]:
        """Discrepancies of baselines that were saved from the session's experiments."""
        ledger = Ledger()
        for file in files:
            for view in views:
                saved_baseline(ledger, file, view.name, listed_runs(view.directory, self._known).values())
        return ledger.lines()

    @uncollected()
    def junit(self, file: Path) -> list[str]:
        """Discrepancies of a JUnit file that pytest has written."""
        ledger, known = Ledger(), {Path(item.directory) for item in self._items if item.directory}
        stored = {directory: stored_runs(directory, self._known).values() for directory in known}
        runs = {directory: {run.order: run for run in of_one} for directory, of_one in stored.items()}
        for item in junit_items(file):
            item_numbers(ledger, file.name, item, runs.get(Path(item.directory), {}))
        return ledger.lines()


def write_audited(directory: Path) -> tuple[ExperimentView, list[str]]:
    """Write the reports of an experiment directory, and read them a second time; returns the discrepancies, too.

    Raises:
        UsageError: it is not an experiment directory, or a file in it cannot be read.
    """
    from pytest_entropy.plugin.session_end import write_reports

    before = look_before(directory)
    view = write_reports(directory)
    try:
        return view, audit(directory, before)
    except Exception as error:
        return view, [f"{directory.name}: audit NOT made: {type(error).__name__}: {error}"]


def listed_runs(directory: Path, known: KnownRuns) -> dict[str, StoredRun]:
    """The runs that an experiment's ``results.csv`` has a row of, by directory; without one, none."""
    rows = read_table(directory) if (directory / TABLE).is_file() else []
    return read_stored(directory, [str(row.get("directory")) for row in rows], known)


def stored_runs(directory: Path, known: KnownRuns) -> dict[str, StoredRun]:
    """All runs of an experiment with a result, by directory."""
    return read_stored(directory, sorted(look_before(directory).runs), known)
