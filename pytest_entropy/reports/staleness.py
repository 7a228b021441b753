"""Whether a written report is up to date with the files that it is made from."""

from __future__ import annotations

from pathlib import Path

from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.paths import ERROR, REPORT, RESULTS, SUMMARY


def is_stale(directory: Path, manifest: ExperimentRecord) -> bool:
    """Whether an experiment's report is missing or older than a file it is made from."""
    try:
        made = (directory / REPORT).stat().st_mtime_ns
    except OSError:
        return True
    sources = [path for path in directory.glob("*.json") if path.name != SUMMARY]
    for run in manifest.planned_runs:
        sources += [directory / run / RESULTS, directory / run / ERROR]
    return any(_changed(path) > made for path in sources)


def _changed(path: Path) -> int:
    """Time of the file's last change in nanoseconds, 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
