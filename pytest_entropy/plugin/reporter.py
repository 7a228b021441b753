"""The reporter of the controlling process: the line of a finished run, the terminal summary, the session's files."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_entropy.plugin.attempts import EXPERIMENT_PROPERTY
from pytest_entropy.plugin.session import session_of

if TYPE_CHECKING:
    from pytest_entropy.plugin.session_audit import SessionAudit
    from pytest_entropy.records.item import ItemReport
    from pytest_entropy.reports.progress import Progress
    from pytest_entropy.reports.view import ExperimentView

# pytest's outcomes; plugins that execute an item again give its earlier reports one of their own.
OUTCOMES = ("passed", "failed", "skipped")


class Reporter:
    """Collects the item reports of experiments, shows them, and writes the session's files."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        # Item reports by experiment, in order of arrival.
        self.items: dict[str, list[ItemReport]] = {}
        # The properties of each of their items as they were reported, by node id.
        self.properties: dict[str, list[tuple[str, Any]]] = {}
        # The experiments as they were stored at session end.
        self.views: list[ExperimentView] = []
        # Messages about what session end did.
        self.notes: list[str] = []
        # Messages about what it could not do.
        self.trouble: list[str] = []
        # A worker's usage error, the only message of a session that has one.
        self.usage_error: str | None = None
        self._progress: Progress | None = None
        # Experiments whose pilot was told on the terminal.
        self._piloted: set[str] = set()
        self._latest: tuple[pytest.TestReport | None, ItemReport | None] = None, None
        self._audit: SessionAudit | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
            item = _item_of(report)
            self._latest = report, item
            if item is not None:
                self._keep(report, item)
                self._note_failure(report, item)
                self._show_progress(item)
        elif report.when == "teardown" and self.properties.get(report.nodeid, report.user_properties) != list(
            report.user_properties
        ):
            # A plugin that repeats the call alone reports the last outcome with the first call's properties.
            self._complete(report)

    def _keep(self, report: pytest.TestReport, item: ItemReport) -> None:
        """Keep an item's report, in place of the one of an attempt that a plugin has followed by another."""
        items = self.items.setdefault(item.experiment, [])
        if item.nodeid in self.properties:
            items[:] = [one for one in items if one.nodeid != item.nodeid or one.outcome in OUTCOMES]
        items.append(item)
        self.properties[report.nodeid] = list(report.user_properties)

    def _complete(self, report: pytest.TestReport) -> None:
        """Give the item's report, whose outcome is known, the properties that it has in the end."""
        item = _item_of(report)
        items = self.items.get(item.experiment, []) if item is not None else []
        for n, one in enumerate(items):
            if item is not None and one.nodeid == report.nodeid:
                items[n] = replace(item, outcome=one.outcome)
                self.properties[report.nodeid] = list(report.user_properties)

    def _note_failure(self, report: pytest.TestReport, item: ItemReport) -> None:
        """Store an item's failure at once, so that the reports of a killed session show it, too."""
        from pytest_entropy.records.failed_items import note_item, reason_of

        if item.directory:
            note_item(item.directory, item.name, reason_of(report.longrepr) if report.failed else None)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.expect([item.nodeid for item in session.items])

    def expect(self, nodeids: list[str]) -> None:
        """Tell the reporter's progress line of the tests that this process, or an xdist worker, has collected."""
        terminal = self.config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None and terminal.isatty and self.config.get_verbosity() >= 0:
            from pytest_entropy.reports.progress import Progress

            self._progress = self._progress or Progress()
            self._progress.expect(nodeids)

    def _show_progress(self, item: ItemReport) -> None:
        """Write what the item says of the time that the session still takes: of its pilot, and of the runs left."""
        told = self._progress.note(item) if self._progress else None
        if item.pilot and item.experiment not in self._piloted:
            self._piloted.add(item.experiment)
            self._write_line(f"entropy: {item.pilot}")
        if told:
            self._write_line(told)

    def _write_line(self, line: str) -> None:
        terminal = self.config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None and self.config.get_verbosity() >= 0:
            terminal.ensure_newline()
            terminal.write_line(line, cyan=True)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Run the tests with lines on the terminal for long phases, if there are experiments."""
        planning = session_of(self.config).planning
        if not planning.plans or session_of(self.config).process.collects_only:
            return (yield)
        from pytest_entropy.plugin.phase_lines import phase_lines

        with phase_lines(self.config) or nullcontext():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport, config: pytest.Config
    ) -> tuple[str, str, str] | None:
        """The status of a finished run, which with -v includes what it measured."""
        if report.when != "call" or not report.passed:
            return None
        # pytest asks for the status of the report that it has just logged.
        latest, item = self._latest
        item = item if latest is report else _item_of(report)
        if item is None or item.delta_h1 is None:
            return None
        from pytest_entropy.reports.terminal import live_line

        return "passed", ".", f"PASSED {live_line(item)}"

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        state = session_of(config)
        return _plan_lines(config) if state.process.is_controller else []

    def pytest_report_collectionfinish(self, config: pytest.Config) -> list[str]:
        # With -q there is the summary only; pytest itself leaves out the header then.
        return [] if config.get_verbosity() < 0 else _plan_lines(config)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None]:
        if self.items:
            self._write_files(session, green=exitstatus == pytest.ExitCode.OK)
        yield
        if self.usage_error is not None:
            print(f"ERROR: {self.usage_error}", file=sys.stderr)
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        # pytest has written its JUnit file by now.
        named = self.config.getoption("xmlpath", None)
        if self.items and named:
            self._finish_junit(session, Path(os.path.expanduser(os.path.expandvars(named))))

    def _finish_junit(self, session: pytest.Session, file: Path) -> None:
        """Put the JUnit file in order, and read it a second time."""
        from pytest_entropy.reports.junit import drop_earlier_attempts, keep_to_xunit2

        if any(item.attempts for items in self.items.values() for item in items):
            drop_earlier_attempts(file)
        if self.config.getini("junit_family") == "xunit2":
            keep_to_xunit2(file)
        if self._audit is not None:
            self._audit_junit(session, self._audit, file)

    def _audit_junit(self, session: pytest.Session, audit: SessionAudit, file: Path) -> None:
        """Read the JUnit file a second time; the terminal's summary is written by now."""
        from pytest_entropy.reports.audit.ledger import DIFFERS

        differing = audit.junit(file)
        # It holds all runs of the session, and Python collects garbage at its end.
        self._audit = None
        for line in differing:
            print(f"ERROR: {DIFFERS}: {line}", file=sys.stderr)
        if differing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write_files(self, session: pytest.Session, *, green: bool) -> None:
        from pytest_entropy.plugin.session_audit import SessionAudit
        from pytest_entropy.plugin.session_end import prune_as_asked, write_overview, write_session_files
        from pytest_entropy.reports.audit.ledger import DIFFERS

        session_of(self.config).computing.release_runs()
        planning = session_of(self.config).planning
        root = planning.planner.results_root
        items = [item for reports in self.items.values() for item in reports]
        gate = planning.gate
        audit = self._audit = SessionAudit(items, self.properties, gate.file if gate.name else None)
        self.views, trouble = write_session_files(self.config, root, planning.planner.stamp, items, audit)
        # Numbers that are reported otherwise than measured are no baseline.
        saved, not_saved = gate.save([view.directory for view in self.views], green=green and not audit.found)
        differing = [f"{DIFFERS}: {line}" for line in audit.found + audit.baselines(gate.written, self.views)]
        removed, not_removed = prune_as_asked(self.config, root)
        over_all, misprinted = write_overview(root, audit, self.views)
        self.notes += saved + removed + over_all
        self.trouble += differing + [f"{DIFFERS}: {line}" for line in misprinted] + trouble + not_saved + not_removed
        if self.trouble and green:
            # A requested file is missing: exit code 0 would mislead a job that goes on to use it.
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.items:
            from pytest_entropy.reports.terminal import write_terminal

            quiet = self.config.get_verbosity() < 0
            write_terminal(terminalreporter, self.items, self.views, self.notes, self.trouble, quiet=quiet)


def _item_of(report: pytest.CollectReport | pytest.TestReport) -> ItemReport | None:
    """The report of an experiment's item, None for any other test, for which nothing is imported."""
    properties = getattr(report, "user_properties", ())
    if not any(name == EXPERIMENT_PROPERTY for name, _ in properties):
        return None
    from pytest_entropy.records.item import ItemReport

    return ItemReport.from_properties(properties, nodeid=report.nodeid, outcome=report.outcome)


def _plan_lines(config: pytest.Config) -> list[str]:
    planning = session_of(config).planning
    if not planning.plans:
        return []
    from pytest_entropy.reports.terminal import header_lines

    gate = planning.gate
    return header_lines(planning.plans, [*filter(None, [gate.newest_line]), *gate.header(planning.plans)])
