"""The tables and figures of ``report.html`` and of the session's page against the runs' files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import COMPARISON, REPORT, RESULTS, UPDATE, UPDATE_RECORD
from pytest_entropy.reports.audit.figures import figure
from pytest_entropy.reports.audit.ledger import Ledger, finite
from pytest_entropy.reports.audit.memory_scaling import what_one_more_costs
from pytest_entropy.reports.audit.pages import PrintedTable, checks_of, figures_of, rollouts_of, tables_of
from pytest_entropy.reports.audit.side_by_side import COMPARED, rollouts
from pytest_entropy.reports.audit.sizes import SizeCells, size_rows
from pytest_entropy.reports.audit.stored_run import StoredRun
from pytest_entropy.reports.audit.sweep import sweep_figure

SWEEP = "Entropy change against the step"
# Rows shown at most.
MOST_ROWS = 500


def report_page(
    ledger: Ledger,
    directory: Path,
    runs: Mapping[str, StoredRun],
    sweeps: Sequence[Mapping[str, Any]] | None,
    checks: Sequence[Mapping[str, Any]],
) -> None:
    """Compare the tables and figures of ``report.html``.

    Args:
        ledger: where discrepancies are noted.
        directory: the experiment's.
        runs: stored runs by directory.
        sweeps: the eta sweeps in the analysis' record; None without an analysis of these runs.
        checks: the outcomes in the summary.
    """
    html = (directory / REPORT).read_text(encoding="utf-8")
    for table in tables_of(html):
        head = table.head[0] if table.head else ""
        if head == "B_E":
            size_rows(ledger, REPORT, [SizeCells.of(row) for row in table.rows], runs)
        elif head == "run":
            _runs(ledger, table, runs)
        elif head == "quantity" and (directory / COMPARISON).is_file():
            _quantities(ledger, table, json.loads((directory / COMPARISON).read_bytes()))
        elif head == "update batch":
            _update(ledger, table, directory)
        elif head == "one more":
            what_one_more_costs(ledger, table, directory)
        elif head in COMPARED:
            COMPARED[head](ledger, table, runs)
    _checks(ledger, checks_of(html), checks)
    rollouts(ledger, *rollouts_of(html), runs)
    ordered = sorted(runs.values(), key=lambda run: run.order)
    for shown in figures_of(html):
        caption = f"{shown.title}: {shown.reading}"
        ledger.text(REPORT, "an alternative text", shown.alternative, caption, says="its caption is")
        if shown.title == SWEEP:
            for record in (sweeps or ())[:1]:
                sweep_figure(ledger, REPORT, shown, record)
        elif ordered:
            figure(ledger, REPORT, shown, ordered, analysed=sweeps is not None)


def _runs(ledger: Ledger, table: PrintedTable, runs: Mapping[str, StoredRun]) -> None:
    shown = [row[0] for row in table.rows]
    if len(runs) <= MOST_ROWS:
        ledger.text(REPORT, "the list of runs", sorted(shown), sorted(runs), says="stored are")
    for row in table.rows:
        run = runs.get(row[0])
        if run is None:
            continue
        named = dict(zip([head.partition(" ")[0] for head in table.head], row, strict=False))
        of = f"of {run.name}"
        ledger.measure(REPORT, f"delta_h1 {of}", row[1], run.number("delta_h1"), run.number("se_conditional"))
        second = named.get("±", "-").removeprefix("± ")
        total = run.number("se_total")
        if total is not None and not run.is_single_batch and "±" in named:
            ledger.printed(REPORT, f"se_total {of}", second, total)
        ledger.measure(REPORT, f"entropy {of}", named["entropy"], run.number("entropy_mean"), run.number("entropy_se"))
        ledger.printed(REPORT, f"length_mean {of}", named["tokens/response"], run.number("length_mean"))
        ledger.printed(REPORT, f"seconds {of}", named["seconds"], run.seconds, says=f"its {RESULTS} gives")
        ledger.printed(REPORT, f"peak_memory_mb {of}", named["MiB"], run.number("peak_memory_mb"))


def _checks(ledger: Ledger, rows: Sequence[Mapping[str, str]], checks: Sequence[Mapping[str, Any]]) -> None:
    by_name = {str(check["name"]): check for check in checks}
    says = "its file says"
    ledger.text(REPORT, "the list of checks", sorted(row["name"] for row in rows), sorted(by_name), says="stored are")
    for row in rows:
        name = row["name"]
        check = by_name.get(name)
        if check is None:
            continue
        ledger.text(REPORT, f"the verdict of {name}", row["verdict"].lower(), check["verdict"], says=says)
        ledger.printed(REPORT, f"p of {name}", row.get("p", "-"), finite(check["p_value"]), says=says)
        ledger.printed(REPORT, f"the effect of {name}", row.get("effect", "-"), finite(check["effect"]), says=says)
        ledger.text(REPORT, f"n of {name}", row["n"], str(check["n"]), says=says)


def _quantities(ledger: Ledger, table: PrintedTable, record: Mapping[str, Any]) -> None:
    rows = {row["quantity"]: row for row in record["quantities"]}
    says = f"{COMPARISON} says"
    for cells in table.rows:
        row = rows.get(cells[0])
        if row is None:
            continue
        for name, cell in (("before", cells[2]), ("after", cells[3]), ("margin", cells[5])):
            # Below a value stand its errors.
            ledger.printed(REPORT, f"{name} of {cells[0]}", cell.partition(" ")[0], finite(row[name]), says=says)
        effect = cells[4].partition(" ")[0]
        ledger.printed(REPORT, f"the difference of {cells[0]}", effect, finite(row["outcome"]["effect"]), says=says)


def _update(ledger: Ledger, table: PrintedTable, directory: Path) -> None:
    file = directory / UPDATE / UPDATE_RECORD
    if not file.is_file():
        return
    record = json.loads(file.read_bytes())
    for words, cell in table.rows:
        key = words.replace(" ", "_")
        value = record.get(key)
        if isinstance(value, float):
            ledger.printed(REPORT, f"{key} of the update batch", cell, finite(value), says=f"{UPDATE_RECORD} says")


def session_page(ledger: Ledger, file: Path, experiments: Sequence[Mapping[str, StoredRun]]) -> None:
    """Compare the tables of the session's page, one for each experiment with runs.

    Args:
        ledger: where discrepancies are noted.
        file: the page.
        experiments: stored runs by directory, in the page's order.
    """
    tables = [table for table in tables_of(file.read_text(encoding="utf-8")) if table.head[:1] == ["B_E"]]
    with_runs = [runs for runs in experiments if runs]
    ledger.text(file.name, "the number of tables", len(tables), len(with_runs), says="experiments with runs are")
    for table, runs in zip(tables, with_runs, strict=False):
        size_rows(ledger, file.name, [SizeCells.of(row) for row in table.rows], runs)
