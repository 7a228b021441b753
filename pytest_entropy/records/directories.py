"""Directories of results: how an experiment is found again, and named without clashing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.files import read_json
from pytest_entropy.records.paths import MANIFEST, STAMPS


def session_stamp() -> str:
    """The time a session began, as directory names have it."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def claim_stamp(results: Path, stamp: str, *, named: bool = False) -> str:
    """Make ``stamp`` this session's own: of two sessions begun in one second the later gets a suffix.

    ``named`` says the user named the directory, so that a link is meant.

    Raises:
        UsageError: the results directory cannot be written, or leads elsewhere through a link.
    """
    if not named:
        require_plain(results)
    try:
        (results / STAMPS).mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            name = stamp if number == 1 else f"{stamp}_{number}"
            try:
                os.close(os.open(results / STAMPS / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                continue
            return name
    except OSError as error:
        raise UsageError(f"results directory {results} cannot be written: {error.strerror}") from error
    raise UsageError(f"results directory {results}: ten thousand sessions in one second")


def require_plain(results: Path) -> None:
    """Refuse a results directory that is a symbolic link: results would be written somewhere else.

    Raises:
        UsageError: says where it leads.
    """
    for place in (results, *(results / name for name in _names(results))):
        if place.is_symlink():
            raise UsageError(
                f"{place} is a symbolic link to {os.readlink(place)}: results would be written there; "
                "remove the link or give --entropy-results"
            )


def _names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.is_dir() else []


def read_manifest(directory: Path) -> ExperimentRecord | None:
    """An experiment directory's manifest, None if it has none that can be read and is ours."""
    try:
        return ExperimentRecord.from_dict(read_json(directory / MANIFEST))
    except (OSError, ValueError):
        return None


def experiments_in(category: Path) -> Iterator[tuple[Path, ExperimentRecord]]:
    """Experiment directories with their manifests, oldest first."""
    found = []
    for name in _names(category):
        manifest = read_manifest(category / name)
        if manifest is not None:
            found.append((manifest.stamp, category / name, manifest))
    for _, directory, manifest in sorted(found, key=lambda entry: entry[:2]):
        yield directory, manifest


def all_experiments(root: Path) -> Iterator[tuple[Path, ExperimentRecord]]:
    """Every experiment directory under a results directory with its manifest, category by category, oldest first."""
    for name in _names(root):
        if not name.startswith(".") and (root / name).is_dir():
            yield from experiments_in(root / name)


def find_resumable(category: Path, checkpoint_digest: str, config_digest: str) -> Path | None:
    """The newest experiment directory of the same checkpoint and configuration."""
    wanted = (checkpoint_digest, config_digest)
    matching = [
        directory
        for directory, manifest in experiments_in(category)
        if (manifest.checkpoint_digest, manifest.config_digest) == wanted
    ]
    return matching[-1] if matching else None
