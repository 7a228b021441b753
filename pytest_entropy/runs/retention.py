"""Remove old experiments, except the newest of each kind and those that a running session uses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.records.paths import INDEX, SESSION_RECORD, SESSIONS
from pytest_entropy.records.results_directory import all_experiments, experiments_in, read_manifest
from pytest_entropy.reports.index import sessions
from pytest_entropy.reports.results_index import write_results_index
from pytest_entropy.runs.session_lock import RunningSessions
from pytest_entropy.runs.shared_updates import remove_unused


@dataclass(frozen=True)
class Candidate:
    """An experiment older than the newest ``keep``; ``spared`` is why it stays nevertheless, empty if it is removed."""

    directory: Path
    spared: str = ""


def candidates(root: Path, keep: int) -> list[Candidate]:
    """The experiments of a results directory older than the newest ``keep`` of each kind, oldest first.

    Args:
        root: the results directory.
        keep: number of experiments of each kind that stay.

    Raises:
        UsageError: ``keep`` < 1 (the newest is never removed), or ``root`` is not a whole results directory.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: the newest experiment of a kind always stays, give at least 1")
    if not root.is_dir():
        raise UsageError(f"{root} is not a directory")
    by_kind: dict[tuple[Path, str], list[tuple[Path, str]]] = {}
    for directory, manifest in all_experiments(root):
        by_kind.setdefault((directory.parent, manifest.experiment), []).append((directory, manifest.stamp))
    if not by_kind and (read_manifest(root) or any(experiments_in(root))):
        raise UsageError(f"{root} is a part of a results directory: give the whole, {root.absolute().parent} or above")
    running = RunningSessions(root)
    return [
        Candidate(directory, _spared(directory, stamp, running))
        for entries in by_kind.values()
        for directory, stamp in entries[:-keep]
    ]


def _spared(directory: Path, stamp: str, running: RunningSessions) -> str:
    if directory.is_symlink() or directory.parent.is_symlink():
        return "a symbolic link"
    return "in use by a session" if running.use(directory, stamp) else ""


def prune(root: Path, keep: int) -> Iterator[Candidate]:
    """Remove the :func:`candidates` that are not spared, and yield each of them, spared or removed."""
    for candidate in candidates(root, keep):
        if not candidate.spared:
            # Renamed first, so that a killed process leaves no half-removed experiment under a valid name.
            gone = candidate.directory.with_name(f".{candidate.directory.name}.gone.{os.getpid()}")
            try:
                os.rename(candidate.directory, gone)
            except FileNotFoundError:
                continue  # another process removed it first
            shutil.rmtree(gone)
        yield candidate
    _sweep_indexes(root)
    remove_unused(root)
    if (root / INDEX).is_file():
        # What was removed vanishes from the page over all sessions; where it cannot be written, the next session does.
        with suppress(OSError):
            write_results_index(root)


def _sweep_indexes(root: Path) -> None:
    """Remove the index pages of sessions without experiments; directories with other files stay."""
    with_experiments = sessions(root)
    for place in (root / SESSIONS).glob("*"):
        if place.name in with_experiments or place.is_symlink() or not place.is_dir():
            continue
        if {entry.name for entry in place.iterdir()} <= {INDEX, SESSION_RECORD}:
            shutil.rmtree(place, ignore_errors=True)
