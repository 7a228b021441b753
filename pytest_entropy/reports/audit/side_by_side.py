"""The tables and figures of debugging, which have a column or a series per run, against the runs' files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pytest_entropy.records.paths import REPORT, RESULTS
from pytest_entropy.reports.audit.arithmetic import mean, size, standard_error
from pytest_entropy.reports.audit.ledger import Ledger, numbers
from pytest_entropy.reports.audit.pages import PrintedFigure, PrintedTable
from pytest_entropy.reports.audit.stored_run import StoredRun

SAYS = f"its {RESULTS} gives"
LABEL = re.compile(r"B_E (\d+) run (\d+)")
# Drawn numbers have ten digits; means of numbers that cancel are rounding.
DRAWN, ROUNDING = 1e-8, 1e-12


def estimators_table(ledger: Ledger, table: PrintedTable, runs: Mapping[str, StoredRun]) -> None:
    """Compare the table with a row per estimator and a column per run.

    Args:
        ledger: where discrepancies are noted.
        table: the table.
        runs: stored runs by directory.
    """
    for run, name, cell in _cells(table, runs):
        values = _contributions(run, name)
        if values and abs(mean(values)) > ROUNDING * size(values):
            what = f"estimator {name} of {run.name}"
            ledger.measure(REPORT, what, cell, mean(values), standard_error(values), says=SAYS)


def variance_table(ledger: Ledger, table: PrintedTable, runs: Mapping[str, StoredRun]) -> None:
    """Compare the table with a row per part of the variance and a column per run.

    Args:
        ledger: where discrepancies are noted.
        table: the table.
        runs: stored runs by directory.
    """
    for run, name, cell in _cells(table, runs):
        ledger.printed(REPORT, f"{name} of {run.name}", cell, _parts(run).get(name), says=SAYS)


def drawn_estimators(ledger: Ledger, file: str, shown: PrintedFigure, runs: Sequence[StoredRun]) -> None:
    """Compare the points of each run's estimators.

    Args:
        ledger: where discrepancies are noted.
        file: the page and figure.
        shown: the figure.
        runs: the runs.
    """
    for line in shown.panels[0]["lines"]:
        run = _of_label(line["label"], runs)
        if run is None:
            continue
        # Of the run's own estimator there is a diagnostic as well, where s_n is not <X_n, u> itself.
        names = {run.record["estimator"], *(n for n in run.record.get("diagnostics") or {} if n != "score")}
        known = sorted(mean(values) for name in names if (values := _contributions(run, name)))
        drawn = sorted(x for x in line["x"] if x is not None)
        ledger.text(file, f"the number of estimators of {run.name}", len(drawn), len(known), says="stored are")
        for x, value in zip(drawn, known, strict=False):
            ledger.number(file, f"an estimator of {run.name}", x, value, within=DRAWN * abs(value), says=SAYS)


def drawn_variance(ledger: Ledger, file: str, shown: PrintedFigure, runs: Sequence[StoredRun]) -> None:
    """Compare the bars of each run's parts of the variance.

    Args:
        ledger: where discrepancies are noted.
        file: the page and figure.
        shown: the figure.
        runs: the runs.
    """
    for series in shown.panels[0]["bars"]:
        run = _of_label(series["label"], runs)
        parts = {} if run is None else _parts(run)
        for (name, value), (*_, width, _) in zip(parts.items(), series["boxes"], strict=False):
            ledger.number(file, f"{name} of {series['label']}", width, value, within=DRAWN * abs(value), says=SAYS)


def rollouts(ledger: Ledger, label: str, texts: Sequence[str], runs: Mapping[str, StoredRun]) -> None:
    """Compare the s_n of the shown rollouts with the lowest and the highest of their run.

    Args:
        ledger: where discrepancies are noted.
        label: the run's.
        texts: the s_n, the lowest first, then the highest from the top.
        runs: stored runs by directory.
    """
    run = _of_label(label, list(runs.values()))
    if run is None:
        return
    scalars = run.record["per_prompt"]
    if run.number("companions.count"):
        scalars = (run.record.get("diagnostics") or {}).get(run.record["estimator"])
    ordered = sorted(numbers(scalars))
    each = len(texts) // 2
    expected = ordered[:each] + ordered[::-1][:each]
    for number, (text, value) in enumerate(zip(texts, expected, strict=False), start=1):
        ledger.printed(REPORT, f"s_n of rollout {number} of {run.name}", text, value, says=SAYS)


def _cells(table: PrintedTable, runs: Mapping[str, StoredRun]) -> list[tuple[StoredRun, str, str]]:
    """Run, name of the row, and text of each cell that shows a number."""
    columns = [_of_label(label, list(runs.values())) for label in table.head[1:]]
    return [
        (run, row[0], cell)
        for row in table.rows
        for run, cell in zip(columns, row[1:], strict=True)
        if run is not None and cell != "-"
    ]


def _of_label(label: str, runs: Sequence[StoredRun]) -> StoredRun | None:
    found = LABEL.fullmatch(label)
    order = (int(found[1]), int(found[2])) if found else None
    return next((run for run in runs if run.order == order), None)


def _contributions(run: StoredRun, estimator: str) -> list[float]:
    """eta s_n of an estimator; a diagnostic of the run's own estimator's name is in nats per response."""
    scalars = {run.record["estimator"]: numbers(run.record["per_prompt"])}
    scalars |= {name: numbers(values) for name, values in (run.record.get("diagnostics") or {}).items()}
    eta = run.number("eta")
    return [eta * s for s in scalars.get(estimator, ())] if eta is not None else []


def _parts(run: StoredRun) -> dict[str, float]:
    names = {"V_X": "entropy_batch", "V_Y": "update_batch", "T": "interaction"}
    parts = {short: run.number(f"variance_parts.{name}") for short, name in names.items()}
    known = {short: value for short, value in parts.items() if value is not None}
    if len(known) == len(names):
        known["total"] = known["V_X"] + known["V_Y"] - known["T"]
    return known


COMPARED: dict[str, Callable[[Ledger, PrintedTable, Mapping[str, StoredRun]], None]] = {
    "estimator": estimators_table,
    "variance": variance_table,
}
FIGURES: dict[str, Callable[[Ledger, str, PrintedFigure, Sequence[StoredRun]], None]] = {
    "Estimators side by side": drawn_estimators,
    "Parts of the variance": drawn_variance,
}
