"""The record of the runs that a target of the error took, against the runs' files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pytest_entropy.records.paths import TARGET_ERROR
from pytest_entropy.reports.audit.analyses import is_older, target_numbers
from pytest_entropy.reports.audit.arithmetic import mean
from pytest_entropy.reports.audit.ledger import Ledger, finite
from pytest_entropy.reports.audit.sizes import GIVES
from pytest_entropy.reports.audit.stored_run import StoredRun, pooled, rounding_of


def runs_taken(ledger: Ledger, directory: Path, runs: Sequence[StoredRun]) -> None:
    """Compare ``target_error.json`` with the runs, where there is one and no run is newer.

    Args:
        ledger: where discrepancies are noted.
        directory: the experiment's.
        runs: its stored runs.
    """
    file = directory / TARGET_ERROR
    if not runs or not file.is_file() or is_older(file, directory, runs):
        return
    record = json.loads(file.read_bytes())
    target_numbers(ledger, TARGET_ERROR, record, runs)
    whole, near = pooled(runs, runs), rounding_of(runs)
    ledger.number(TARGET_ERROR, "se", finite(record["se"]), whole.se, within=near, says=GIVES)
    ledger.text(TARGET_ERROR, "the number of runs", record["runs"], len(runs), says="stored are")
    seconds = mean([run.seconds for run in runs])
    ledger.number(TARGET_ERROR, "seconds_per_run", record["seconds_per_run"], seconds, says=GIVES)
    for name in sorted(set(record["not_needed"]) & {run.directory for run in runs}):
        ledger.differs(TARGET_ERROR, f"calls {name} not needed, and it has a result")
