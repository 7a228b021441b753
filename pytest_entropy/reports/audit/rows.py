"""``results.csv`` and ``summary.json`` against the runs' files, row by row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import CHECKS, EARLIER_ERROR, MANIFEST, RESULTS, SUMMARY, TABLE
from pytest_entropy.reports.audit.arithmetic import noise_over_signal
from pytest_entropy.reports.audit.ledger import Ledger, finite, numbers
from pytest_entropy.reports.audit.stored_run import Before, StoredRun, failed

# Columns that are a number, and columns that are a text, of a run's file.
COPIED = (
    "B_E", "run", "delta_h1", "se_conditional", "se_total", "entropy_mean", "entropy_se", "length_mean", "eta",
    "peak_memory_mb",
)  # fmt: skip
TEXTS = ("estimator", "update_rule")
OUTCOME = ("p_value", "alpha", "effect", "statistic", "n", "smallest_detectable", "declared_effect")


def row_of(ledger: Ledger, file: str, row: Mapping[str, Any], run: StoredRun, experiment: str) -> None:
    """Compare one row with its run.

    Args:
        ledger: where discrepancies are noted.
        file: the file that has the row.
        row: its values by column, as texts or as numbers.
        run: the run.
        experiment: the experiment's name.
    """

    def what(column: str) -> str:
        return f"{column} of {run.name}"

    for column in COPIED:
        ledger.number(file, what(column), row.get(column), run.number(column))
    # More digits than a float has.
    ledger.text(file, what("seed"), str(row.get("seed")), str(run.record.get("seed")))
    for column in TEXTS:
        ledger.text(file, what(column), row.get(column), run.record.get(column))
    ledger.text(file, what("mode"), row.get("mode"), run.record.get("mode", "two_batch"))
    ledger.text(file, what("notes"), row.get("notes"), "; ".join(run.record.get("notes") or []))
    ledger.text(file, what("experiment"), row.get("experiment"), experiment, says=f"{MANIFEST} says")
    ratio, _ = noise_over_signal(run.number("delta_h1"), run.number("se_conditional"))
    says = f"its {RESULTS} gives"
    ledger.number(file, what("signal_to_noise"), row.get("signal_to_noise"), ratio, says=says)
    ledger.number(file, what("seconds"), row.get("seconds"), run.seconds, says=says)


def read_table(directory: Path) -> list[dict[str, str]]:
    """The rows of ``results.csv``.

    Raises:
        OSError: there is no such file.
    """
    return list(csv.DictReader(io.StringIO((directory / TABLE).read_text(encoding="utf-8"))))


def table_rows(
    ledger: Ledger, file: str, rows: Sequence[Mapping[str, Any]], runs: Mapping[str, StoredRun], experiment: str
) -> None:
    """Compare the rows of a table with the runs, each by the directory that it names.

    Args:
        ledger: where discrepancies are noted.
        file: the table's file.
        rows: the table's rows.
        runs: stored runs by directory.
        experiment: the experiment's name.
    """
    for row in rows:
        run = runs.get(str(row.get("directory")))
        if run is None:
            ledger.differs(file, f"has a row of {row.get('directory')}, which has no {RESULTS}")
        else:
            row_of(ledger, file, row, run, experiment)
    named = [runs[str(row.get("directory"))].order for row in rows if str(row.get("directory")) in runs]
    if len(set(named)) < len(named):
        ledger.differs(file, "has two rows of one run")


def summary(
    ledger: Ledger, directory: Path, before: Before, runs: Mapping[str, StoredRun], experiment: str
) -> dict[str, Any]:
    """Compare ``summary.json`` with the runs, the failed and missing ones, and the checks' outcomes; returns it.

    Args:
        ledger: where discrepancies are noted.
        directory: the experiment's.
        before: what the directory held before the summary was made.
        runs: stored runs by directory.
        experiment: the experiment's name.

    Raises:
        OSError: there is no summary.
        ValueError: it is not JSON.
    """
    record: dict[str, Any] = json.loads((directory / SUMMARY).read_bytes())
    table_rows(ledger, SUMMARY, record["runs"], runs, experiment)
    listed = {row["directory"] for row in record["runs"]} | set(record["failed_runs"])
    for name in sorted(before.runs - listed):
        ledger.differs(SUMMARY, f"has neither a row of {name} nor calls it failed, and {name}/{RESULTS} exists")
    for name in sorted(set(record["missing_runs"]) & before.runs):
        ledger.differs(SUMMARY, f"calls {name} missing, and {name}/{RESULTS} exists")
    for name in sorted(set(record["failed_runs"]) - failed(directory) - (before.runs - set(runs))):
        if name in runs:
            ledger.differs(SUMMARY, f"calls {name} failed, and its {RESULTS} can be read")
    for name in sorted(before.runs):
        told, first = record["attempts"].get(name, 1), directory / name / EARLIER_ERROR.format(attempt=1)
        errors = len(list(first.parent.glob(EARLIER_ERROR.format(attempt="*")))) if told != 1 or first.is_file() else 0
        if told != errors + 1:
            ledger.differs(SUMMARY, f"says {told} attempts of {name}, which has {errors} errors of earlier ones")
    _checks(ledger, directory, before, record)
    return record


def _checks(ledger: Ledger, directory: Path, before: Before, record: Mapping[str, Any]) -> None:
    """Each outcome in the summary is one that a check's file holds, and each check's file has its outcome there."""
    now = {file.name: file.read_bytes() for file in directory.glob(CHECKS)}
    stored = [json.loads(content) for content in {*before.checks.values(), *now.values()}]
    by_name: dict[str, list[Any]] = {}
    for outcome in stored:
        by_name.setdefault(str(outcome.get("name")), []).append(outcome)
    listed = {outcome["name"]: outcome for outcome in record["checks"]}
    for name, outcome in listed.items():
        same = [one for one in by_name.get(name, []) if _same_outcome(outcome, one)]
        if not same:
            of_file = next(iter(by_name.get(name, [])), None)
            ledger.differs(SUMMARY, f"check {name}: {_outcome(outcome)}, its file says {_outcome(of_file)}")
    missing = sorted({str(json.loads(content).get("name")) for content in before.checks.values()} - set(listed))
    if missing:
        ledger.differs(SUMMARY, f"lacks the checks {', '.join(missing)}, whose outcomes are stored")
    red = [name for name, outcome in listed.items() if outcome["verdict"] == "fail"]
    if (red or record["failed_runs"]) and record["tone"] != "fail":
        reason = f"the check {red[0]} failed" if red else f"the run {record['failed_runs'][0]} failed"
        ledger.differs(SUMMARY, f"its tone is {record['tone']!r}, and {reason}")


def _same_outcome(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one["verdict"] == other.get("verdict") and all(
        finite(one.get(key)) == finite(other.get(key)) for key in OUTCOME
    ) and numbers(one.get("ci")) == numbers(other.get("ci"))  # fmt: skip


def _outcome(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return "nothing"
    return f"{record.get('verdict')}, p = {record.get('p_value')}, effect {record.get('effect')}"
