"""The numbers of test items: JUnit's properties, and the line of a finished run, against the runs' files."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import RESULTS
from pytest_entropy.reports.audit.arithmetic import noise_over_signal
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.printed import MEASURE
from pytest_entropy.reports.audit.stored_run import StoredRun

# As JUnit's properties are called (records/item.py).
DIRECTORY = "entropy_directory"
NUMBERS = ("delta_h1", "se_conditional", "se_total", "variance_total", "sampling_fraction", "entropy_mean")
# Decimals to which a property is rounded.
SECONDS, MEMORY = 0.5e-4, 0.5e-1
IDENTITY = re.compile(r"\[BE(?P<B_E>\d+)-run(?P<run>\d+)\]$")
Properties = Mapping[str, Any]


@dataclass(frozen=True)
class ReportedItem:
    """A test item as a file has it: its name, and its properties by name (the first of each name is ours)."""

    name: str
    properties: Properties

    @classmethod
    def of(cls, name: str, properties: Iterable[tuple[str, Any]]) -> ReportedItem:
        """The item with the first of each property; later ones are of the test itself."""
        first: dict[str, Any] = {}
        for key, value in properties:
            first.setdefault(key, value)
        return cls(name, first)

    @property
    def directory(self) -> str:
        """Path of its experiment's directory; empty if it has none."""
        return str(self.properties.get(DIRECTORY) or "")

    @property
    def order(self) -> tuple[int, int] | None:
        """(B_E, run number) of its run; None of an item without a result."""
        if self.properties.get("delta_h1") is None:
            return None
        return int(self.properties["B_E"]), int(self.properties["run"])


def item_numbers(ledger: Ledger, file: str, item: ReportedItem, runs: Mapping[tuple[int, int], StoredRun]) -> None:
    """Compare the properties of an item with its run; an item without a result has none.

    Args:
        ledger: where discrepancies are noted.
        file: what holds the properties.
        item: the item.
        runs: stored runs of its experiment by (B_E, run number).
    """
    if item.order is None:
        return
    named = IDENTITY.search(item.name)
    if named and (int(named["B_E"]), int(named["run"])) != item.order:
        ledger.differs(file, f"{item.name} has the numbers of B_E {item.order[0]} run {item.order[1]}")
        return
    run = runs.get(item.order)
    if run is None:
        ledger.differs(file, f"{item.name} has numbers, and no {RESULTS} of its run exists")
        return
    _run_properties(ledger, file, item.properties, run)


def _run_properties(ledger: Ledger, file: str, properties: Properties, run: StoredRun) -> None:
    for name in NUMBERS:
        value = properties.get(name)
        value = None if value in (None, "None") else value
        ledger.number(file, f"{name} of {run.name}", value, run.number(name))
    ratio, word = noise_over_signal(run.number("delta_h1"), run.number("se_conditional"))
    shown = properties.get("signal_to_noise")
    says = f"its {RESULTS} gives"
    ledger.number(file, f"signal_to_noise of {run.name}", None if shown in (None, "None") else shown, ratio, says=says)
    texts = {
        "signal_to_noise_label": word,
        "mode": run.record.get("mode", "two_batch"),
        "unit": run.record.get("unit", "nats per response"),
    }
    for name, text in texts.items():
        ledger.text(file, f"{name} of {run.name}", properties.get(name), text, says=says)
    ledger.number(file, f"seconds of {run.name}", properties.get("seconds"), run.seconds, within=SECONDS, says=says)
    memory = run.number("peak_memory_mb")
    ledger.number(file, f"peak_memory_mb of {run.name}", properties.get("peak_memory_mb"), memory, within=MEMORY)


def live_line_numbers(ledger: Ledger, line: str, run: StoredRun) -> None:
    """Compare the line that the terminal prints with -v of a finished run with that run.

    Args:
        ledger: where discrepancies are noted.
        line: without its status.
        run: the run.
    """
    found = re.search(rf"δH₁ = ({MEASURE})", line)
    se = run.number("se_conditional")
    ledger.measure("the terminal", f"delta_h1 of {run.name}", found[1] if found else line, run.number("delta_h1"), se)
    total = re.search(r"± (\S+) over update batches", line)
    recorded = run.number("se_total")
    # A run stored before has none where the unbiased estimate is negative; the line shows the larger part instead.
    if total and recorded is not None and not run.is_single_batch:
        says = f"its {RESULTS} gives"
        ledger.printed("the terminal", f"se_total of {run.name}", total[1], recorded, says=says)


def junit_items(path: Path) -> list[ReportedItem]:
    """The items of experiments in a JUnit file, with their properties from the test case or from its suite.

    Raises:
        OSError: the file cannot be read.
        ParseError: it is no XML.
    """
    found: dict[str, list[tuple[str, Any]]] = {}
    for suite in ET.parse(path).getroot().iter("testsuite"):
        for entry in suite.iterfind("properties/property"):
            item, separator, name = str(entry.get("name")).rpartition("::")
            if separator:
                found.setdefault(item, []).append((name, entry.get("value")))
        for case in suite.iterfind("testcase"):
            item = f"{case.get('classname')}::{case.get('name')}"
            own = [(str(entry.get("name")), entry.get("value")) for entry in case.iterfind("properties/property")]
            # An item that was executed again has a test case per attempt: the last one's numbers are its own.
            kept = [] if any(name == DIRECTORY for name, _ in own) else found.get(item, [])
            found[item] = kept + own
    items = [ReportedItem.of(name, properties) for name, properties in found.items()]
    return [item for item in items if item.directory]
