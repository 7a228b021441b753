"""The record of memory scaling: costs against the files of runs and probes, lines by the normal equations."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import MEMORY_PROBES, MEMORY_RECORD, REPORT
from pytest_entropy.reports.audit.arithmetic import mean, size
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.pages import PrintedTable
from pytest_entropy.reports.audit.sizes import GIVES
from pytest_entropy.reports.audit.stored_run import StoredRun

# Relative to the costs; lines are solved in another way there.
NEAR = 1e-6


def memory_scaling_numbers(ledger: Ledger, file: str, record: Mapping[str, Any], runs: Sequence[StoredRun]) -> None:
    """Compare the planned runs' costs, and every line with its forecast.

    Args:
        ledger: where discrepancies are noted.
        file: the record's.
        record: the analysis.
        runs: the runs in the order of (B_E, run).
    """
    ledger.text(file, "the number of runs", len(record["runs"]), len(runs), says="stored are")
    for stated, run in zip(record["runs"], runs, strict=False):
        ledger.text(file, "B_E and run", (stated["B_E"], stated["run"]), run.order)
        ledger.number(file, f"seconds of {run.name}", stated["seconds"], run.seconds)
        ledger.number(file, f"memory of {run.name}", stated["memory_mb"], run.most_memory)
    probes = [("B_E", "B_E"), ("G", "G"), ("length", "length_mean")]
    for fit in record["fits"]:
        axis, quantity = str(fit["axis"]), str(fit["quantity"])
        if fit["source"] == "runs":
            costs = [run.most_memory if quantity == "memory" else run.seconds_of_the_batch for run in runs]
            expected = [(float(run.B_E), cost) for run, cost in zip(runs, costs, strict=True)]
        else:
            key = {"memory": "peak_mb", "seconds": "seconds"}[quantity]
            expected = [
                (float(probe[dict(probes)[axis]]), probe[key])
                for probe in record["probes"]
                if probe["axis"] == axis and probe[key] is not None
            ]
        _fit(ledger, file, f"{quantity} against {axis} ({fit['source']})", fit, expected)


def _fit(ledger: Ledger, file: str, what: str, fit: Mapping[str, Any], expected: Sequence[tuple[float, float]]) -> None:
    points = [(float(x), float(y)) for x, y in fit["points"]]
    ledger.text(file, f"the number of points of {what}", len(points), len(expected), says=GIVES)
    for (x, y), (known_x, known_y) in zip(points, expected, strict=False):
        ledger.number(file, f"x of {what}", x, known_x, says=GIVES)
        ledger.number(file, f"a point of {what}", y, known_y, says=GIVES)
    near = NEAR * size([y for _, y in points])
    line = _line(points)
    for key, value in zip(("intercept", "slope"), line or (None, None), strict=True):
        ledger.number(file, f"the {key} of {what}", fit[key], value, within=near, says=GIVES)
    largest = max(x for x, _ in points)
    seen = mean([y for x, y in points if x == largest])
    ledger.number(file, f"the largest x of {what}", fit["largest"], largest, says=GIVES)
    ledger.number(file, f"the cost at the largest x of {what}", fit["seen"], seen, says=GIVES)
    forecast = fit["forecast"]
    ratio = seen / forecast if forecast else None
    ledger.number(file, f"seen over forecast of {what}", fit["seen_over_forecast"], ratio, says=GIVES)
    smaller = _line([(x, y) for x, y in points if x < largest])
    by_line = None if smaller is None else smaller[0] + smaller[1] * largest
    ledger.number(file, f"the forecast of {what}", forecast, by_line, within=near, says=GIVES)


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """(intercept, slope) from the sums about the means; None where all x are equal."""
    if len({x for x, _ in points}) < 2:
        return None
    centre, level = mean([x for x, _ in points]), mean([y for _, y in points])
    squares = math.fsum((x - centre) ** 2 for x, _ in points)
    slope = math.fsum((x - centre) * (y - level) for x, y in points) / squares
    return level - slope * centre, slope


def copied_probes(ledger: Ledger, file: str, record: Mapping[str, Any], directory: Path) -> None:
    """Compare the probes in the record with the file they were stored in.

    Args:
        ledger: where discrepancies are noted.
        file: the record's.
        record: the analysis.
        directory: the experiment's.
    """
    stored = json.loads((directory / MEMORY_PROBES / MEMORY_RECORD).read_bytes())
    ledger.text(file, "how memory was counted", record["counted"], stored["counted"], says=f"{MEMORY_RECORD} says")
    ledger.text(file, "the number of probes", len(record["probes"]), len(stored["probes"]), says=f"{MEMORY_RECORD} has")
    for number, (stated, probe) in enumerate(zip(record["probes"], stored["probes"], strict=False)):
        for key, value in probe.items():
            what = f"{key} of probe {number}"
            if isinstance(value, str):
                ledger.text(file, what, stated[key], value, says=f"{MEMORY_RECORD} says")
            else:
                ledger.number(file, what, stated[key], value, says=f"{MEMORY_RECORD} says")


def what_one_more_costs(ledger: Ledger, table: PrintedTable, directory: Path) -> None:
    """Compare the page's slopes and forecasts with the record, whose own lines are audited.

    Args:
        ledger: where discrepancies are noted.
        table: the page's, a row per line.
        directory: the experiment's.
    """
    record = json.loads((directory / "memory_scaling.json").read_bytes())
    fits = [fit for fit in record["fits"] if fit["slope"] is not None]
    ledger.text(REPORT, "the number of costs", len(table.rows), len(fits), says="the analysis has")
    for cells, fit in zip(table.rows, fits, strict=False):
        of = f"one more {cells[0]}"
        number, unit = cells[1].split()
        slope = fit["slope"] * {"memory": 1.0, "seconds": 1e3}[fit["quantity"]]
        ledger.text(REPORT, f"the unit of {of}", unit, {"memory": "MiB", "seconds": "ms"}[fit["quantity"]])
        ledger.printed(REPORT, f"the cost of {of}", number, slope)
        ledger.printed(REPORT, f"seen over forecast of {of}", cells[3], fit["seen_over_forecast"])
