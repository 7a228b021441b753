"""Write ``results/index.html``, the page over all sessions: a row per experiment, newest session first.

It is made from manifests, summaries and session records alone, whole each time.  Of two sessions that end at once, each
looks once more after writing: the last to write has seen what both left.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.files import read_json, state_of, write_text
from pytest_entropy.records.paths import INDEX, MANIFEST, SESSION_RECORD, SESSIONS, SUMMARY
from pytest_entropy.records.results_directory import read_manifest
from pytest_entropy.records.serialization import RecordError, read
from pytest_entropy.records.summary import MeasuredChange
from pytest_entropy.reports.index import index_of, sessions
from pytest_entropy.reports.pages import page
from pytest_entropy.reports.session_rows import ExperimentRow, relative_url, session_verdict, time_of

# An index.html without it is another program's, and stays.
MARK = "<!-- pytest-entropy: all sessions -->"
# A page is written again at most so many times because sessions ended meanwhile.
MOST_WRITES = 5


@dataclass(frozen=True)
class SessionRows:
    """A session on the page: its time, verdict, experiments, and the relative URL of its page, empty if it has none."""

    time: str
    link: str
    rows: list[ExperimentRow]

    @property
    def verdict(self) -> tuple[str, str]:
        """Its verdict, and the same in a sentence."""
        return session_verdict(self.rows)


def write_results_index(root: Path) -> Path | None:
    """Write the page over all sessions of a results directory; None where it is as it was, or another program's.

    Args:
        root: the results directory.

    Raises:
        OSError: the page cannot be written.
    """
    file = root / INDEX
    before = _text_of(file)
    if before and MARK not in before:
        return None
    text = ""
    for _ in range(MOST_WRITES):
        seen = _states(root)
        text = page("results_index.html", sessions=_sessions(root), mark=MARK)
        if text != _text_of(file):
            write_text(file, text)
        if _states(root) == seen:
            break
    return file if text != before else None


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _states(root: Path) -> Mapping[str, object]:
    """The state of each file that the page is made from."""
    files = [*root.glob(f"{SESSIONS}/*/{SESSION_RECORD}"), *root.glob(f"{SESSIONS}/*/{INDEX}")]
    for manifest in root.glob(f"*/*/{MANIFEST}"):
        files += [manifest, manifest.with_name(SUMMARY)]
    return {os.fspath(file): state_of(file) for file in files}


def _sessions(root: Path) -> list[SessionRows]:
    """The sessions with experiments, newest first; an experiment that several sessions used is read once."""
    known: dict[Path, ExperimentRow] = {}
    found = []
    for stamp, directories in reversed(sessions(root).items()):
        for directory in directories:
            if directory not in known and (manifest := read_manifest(directory)) is not None:
                known[directory] = _row(root, directory, manifest)
        rows = [known[directory] for directory in directories if directory in known]
        own = index_of(root, stamp)
        if rows:
            found.append(SessionRows(time_of(stamp), relative_url(own, root) if own.is_file() else "", rows))
    return found


def _row(root: Path, directory: Path, manifest: ExperimentRecord) -> ExperimentRow:
    """The row of an experiment, from its summary, of which only two keys are read: it also holds all runs."""
    try:
        summary = read_json(directory / SUMMARY)
        tone = str(summary["tone"])
        measured = summary.get("measured")
        change = None if measured is None else read(MeasuredChange, measured)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecordError):
        return ExperimentRow.of(directory, manifest, "", None, page=root)
    return ExperimentRow.of(directory, manifest, tone, change, page=root)
