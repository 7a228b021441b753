"""The audit of one experiment: everything its directory reports, against the runs' own files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import COMPARISON, MANIFEST, SUMMARY_TEXT, TABLE
from pytest_entropy.reports.audit.analyses import analysis
from pytest_entropy.reports.audit.gate import comparison
from pytest_entropy.reports.audit.items import ReportedItem, item_numbers, live_line_numbers
from pytest_entropy.reports.audit.ledger import Ledger, finite
from pytest_entropy.reports.audit.printed import NUMBER
from pytest_entropy.reports.audit.report import report_page
from pytest_entropy.reports.audit.rows import read_table, summary, table_rows
from pytest_entropy.reports.audit.session_rows import summarised_change
from pytest_entropy.reports.audit.sizes import markdown_table, terminal_table
from pytest_entropy.reports.audit.stored_run import Before, KnownRuns, StoredRun, read_stored
from pytest_entropy.reports.audit.target_error import runs_taken
from pytest_entropy.reports.audit.within_run import contradictions

PROPERTIES = "the test items' properties"


@dataclass(frozen=True)
class Shown:
    """What the session shows of the experiment besides its files.

    Attributes:
        terminal: the lines of its table by B_E.
        items: its test items with their properties.
        live: the line of each finished run, by its item's name.
        baseline: the file of the baseline that this session compared with; None without a comparison.
    """

    terminal: Sequence[str] = ()
    items: Sequence[ReportedItem] = ()
    live: Mapping[str, str] = field(default_factory=dict)
    baseline: Path | None = None


def audit(directory: Path, before: Before, shown: Shown | None = None, known: KnownRuns | None = None) -> list[str]:
    """Every discrepancy between what is reported of an experiment and its runs' files: a line per reporting file.

    Only runs and checks that were there before the reports were made must be in them, since other processes may still
    be writing.

    Args:
        directory: the experiment's.
        before: what it held before its reports were made.
        shown: what the session shows besides.
        known: runs that were read before (:func:`read_stored`).

    Raises:
        OSError, ValueError, KeyError: a report is missing or is not of the form that this version writes.
    """
    shown = shown or Shown()
    ledger = Ledger()
    experiment = str(json.loads((directory / MANIFEST).read_bytes())["experiment"])
    rows = read_table(directory)
    listed = [str(row.get("directory")) for row in rows]
    every = read_stored(directory, sorted({*before.runs, *listed}), known)
    runs = {name: every[name] for name in listed if name in every}
    for run in runs.values():
        contradictions(ledger, run)
    table_rows(ledger, TABLE, rows, every, experiment)
    record = summary(ledger, directory, before, every, experiment)
    for name in sorted(before.runs - set(listed) - set(record["failed_runs"])):
        ledger.differs(TABLE, f"has no row of {name}, which has a result")
    summarised_change(ledger, record, runs)
    ordered = sorted(runs.values(), key=lambda run: run.order)
    sweeps = analysis(ledger, directory, experiment, ordered)
    runs_taken(ledger, directory, ordered)
    report_page(ledger, directory, runs, sweeps, record["checks"])
    _markdown(ledger, directory, runs, record["checks"])
    if shown.terminal:
        terminal_table(ledger, shown.terminal, runs)
    _items(ledger, shown, every.values())
    if shown.baseline is not None and (directory / COMPARISON).is_file():
        comparison(ledger, directory, shown.baseline, experiment, ordered)
    return [f"{directory.name}/{line}" for line in ledger.lines()]


def _markdown(
    ledger: Ledger, directory: Path, runs: Mapping[str, StoredRun], checks: Sequence[Mapping[str, Any]]
) -> None:
    text = (directory / SUMMARY_TEXT).read_text(encoding="utf-8")
    markdown_table(ledger, SUMMARY_TEXT, text, runs)
    printed = {
        name: (verdict, p)
        for name, verdict, p in re.findall(rf"^- (\S+): (\w+)(?:, p = ({NUMBER}) )?", text, re.MULTILINE)
    }
    for check in checks:
        verdict, p = printed.get(str(check["name"]), ("", ""))
        ledger.text(SUMMARY_TEXT, f"the verdict of {check['name']}", verdict, check["verdict"], says="its file says")
        ledger.printed(SUMMARY_TEXT, f"p of {check['name']}", p, finite(check["p_value"]), says="its file says")


def _items(ledger: Ledger, shown: Shown, runs: Iterable[StoredRun]) -> None:
    stored = {run.order: run for run in runs}
    for item in shown.items:
        item_numbers(ledger, PROPERTIES, item, stored)
        line = shown.live.get(item.name)
        if line is not None and item.order in stored:
            live_line_numbers(ledger, line, stored[item.order])
