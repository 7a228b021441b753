"""The rows of experiments on the pages over sessions, and the summary's measured change, against the runs' files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pytest_entropy.records.paths import REPORT, RESULTS, SUMMARY
from pytest_entropy.reports.audit.ledger import Ledger, finite
from pytest_entropy.reports.audit.pages import tables_of
from pytest_entropy.reports.audit.stored_run import PooledRuns, StoredRun, pooled

GIVES = f"its runs' {RESULTS} give"
# The last cells of a row: delta_h1 with its error, the error over update batches, B_E and the number of runs.
MEASURED = 3
LINE = re.compile(r"<tr>(?:(?!</tr>).)*</tr>", re.DOTALL)
LINK = re.compile(rf'<a href="([^"]*)/{re.escape(REPORT)}">')


def runs_at_largest(runs: Mapping[str, StoredRun]) -> list[StoredRun]:
    """The runs at the largest B_E."""
    most = max((run.B_E for run in runs.values()), default=None)
    return [run for run in runs.values() if most == run.B_E]


def summarised_change(ledger: Ledger, record: Mapping[str, Any], runs: Mapping[str, StoredRun]) -> None:
    """Compare the measured change in a summary.

    Args:
        ledger: where discrepancies are noted.
        record: the summary.
        runs: the stored runs that it lists, by directory.
    """
    said, of_size = record.get("measured"), runs_at_largest(runs)
    if said is None or not of_size:
        if bool(of_size) != (said is not None):
            ledger.differs(SUMMARY, f"the measured change is {said}, and there are {len(of_size)} runs")
        return
    whole = pooled(of_size, runs.values())
    size = (of_size[0].B_E, len(of_size))
    ledger.text(SUMMARY, "B_E and runs of the measured change", (said["B_E"], said["runs"]), size, says=GIVES)
    ledger.number(SUMMARY, "the measured delta_h1", said["delta_h1"], whole.value, says=GIVES)
    ledger.number(SUMMARY, "the error of the measured delta_h1", said["se_conditional"], whole.se, says=GIVES)
    total = None if of_size[0].is_single_batch else whole.total_near(finite(said["se_total"]))
    if said["se_total"] is not None or total is not None:
        ledger.number(SUMMARY, "the measured delta_h1's error over update batches", said["se_total"], total, says=GIVES)


def rows_of_page(ledger: Ledger, file: Path, experiments: Mapping[Path, Mapping[str, StoredRun]]) -> None:
    """Compare the rows of these experiments on a page over sessions; the page has other ones as well.

    Args:
        ledger: where discrepancies are noted.
        file: the page.
        experiments: stored runs by directory, for each experiment's directory.
    """
    by_place = {directory.resolve(): runs for directory, runs in experiments.items()}
    seen = set()
    for line in LINE.findall(file.read_text(encoding="utf-8")):
        link = LINK.search(line)
        place = (file.parent / unquote(link[1])).resolve() if link else None
        if place in by_place:
            seen.add(place)
            (cells,) = tables_of(f"<table>{line}</table>")[0].rows
            _cells(ledger, f"{file.parent.name}/{file.name}", cells[-MEASURED:], by_place[place])
    for place in by_place.keys() - seen:
        ledger.differs(f"{file.parent.name}/{file.name}", f"has no row of {place.name}")


def _cells(ledger: Ledger, name: str, cells: Sequence[str], every: Mapping[str, StoredRun]) -> None:
    measure, over_updates, size = cells
    runs = runs_at_largest(every)
    if not runs:
        ledger.text(name, "the measured delta_h1 of an experiment without runs", measure, "-", says="it is")
        return
    whole: PooledRuns = pooled(runs, every.values())
    where = f"of {runs[0].B_E} × {len(runs)}"
    ledger.text(name, "B_E × runs", size, f"{runs[0].B_E} × {len(runs)}", says=GIVES)
    # Behind the number stands its unit.
    shown = measure.partition(" nats")[0].strip()
    ledger.measure(name, f"delta_h1 {where}", shown, whole.value, whole.se, says=GIVES)
    second = over_updates.removeprefix("± ")
    if not runs[0].is_single_batch and second not in ("-", "not determined"):
        total = whole.total_near(float(second))
        ledger.printed(name, f"the error over update batches {where}", second, total, says=GIVES)
