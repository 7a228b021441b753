"""Removing old experiments: the newest of each kind stay, and what a living session uses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.records.directories import all_experiments, experiments_in, read_manifest
from pytest_entropy.records.paths import INDEX, SESSION_RECORD, SESSIONS
from pytest_entropy.reports.index import sessions
from pytest_entropy.runs.session_lock import Occupied


@dataclass(frozen=True)
class Candidate:
    """An experiment beyond the newest ``keep``; ``spared`` says why it stays all the same, empty if it goes."""

    directory: Path
    spared: str = ""


def candidates(root: Path, keep: int) -> list[Candidate]:
    """The experiments under ``root`` beyond the newest ``keep`` of each kind, oldest first.

    Raises:
        UsageError: ``keep`` < 1 (the newest is never removed), or no results directory.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: the newest experiment of a kind always stays, give at least 1")
    if not root.is_dir():
        raise UsageError(f"{root} is not a directory")
    by_kind: dict[Path, list[tuple[Path, str]]] = {}
    for directory, manifest in all_experiments(root):
        by_kind.setdefault(directory.parent, []).append((directory, manifest.stamp))
    if not by_kind and (read_manifest(root) or any(experiments_in(root))):
        raise UsageError(f"{root} is a part of a results directory: give the whole, {root.absolute().parent} or above")
    occupied = Occupied(root)
    return [
        Candidate(directory, _spared(directory, stamp, occupied))
        for entries in by_kind.values()
        for directory, stamp in entries[:-keep]
    ]


def _spared(directory: Path, stamp: str, occupied: Occupied) -> str:
    if directory.is_symlink() or directory.parent.is_symlink():
        return "a symbolic link"
    return "in use by a session" if occupied.holds(directory, stamp) else ""


def prune(root: Path, keep: int) -> Iterator[Candidate]:
    """Remove the :func:`candidates` that are not spared, and say of each what became of it."""
    for candidate in candidates(root, keep):
        if not candidate.spared:
            # Renamed first, so that a killed process leaves no half experiment under a name that counts.
            gone = candidate.directory.with_name(f".{candidate.directory.name}.gone.{os.getpid()}")
            try:
                os.rename(candidate.directory, gone)
            except FileNotFoundError:
                continue  # another session that keeps few was faster
            shutil.rmtree(gone)
        yield candidate
    _sweep_indexes(root)


def _sweep_indexes(root: Path) -> None:
    """Remove the pages of sessions all of whose experiments are gone; what we did not write stays."""
    living = sessions(root)
    for place in (root / SESSIONS).glob("*"):
        if place.name in living or place.is_symlink() or not place.is_dir():
            continue
        if {entry.name for entry in place.iterdir()} <= {INDEX, SESSION_RECORD}:
            shutil.rmtree(place, ignore_errors=True)
