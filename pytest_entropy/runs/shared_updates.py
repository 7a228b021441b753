"""The update batches of a results directory: each is computed once, for all experiments of a session.

An entry is a directory named by the digest of everything that the update depends on.  An experiment takes it into its
own directory, so that it stays whole when the entry is removed.  Entries of earlier sessions are taken with --resume
only: a session measures what the code does today, which no digest knows (a plugin may have changed it in memory).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from pytest_entropy.records.files import read_json, write_json, write_text
from pytest_entropy.records.paths import (
    ACTION_VALUES,
    DIRECTION,
    LOCKS,
    RESPONSES,
    SESSION,
    UPDATE_BATCHES,
    UPDATE_RECORD,
)
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.records.update import StoredUpdate
from pytest_entropy.runs.inputs import package_digest
from pytest_entropy.runs.machine import environment
from pytest_entropy.settings.model import ExperimentConfig

# The sections of the configuration that no update depends on, and keys of the others.
_OTHER_SECTIONS = ("checkpoint", "seed", "checks", "eta_sweep", "diagnostics", "save_gradients", "reward_timeout")
_OTHER_KEYS = {
    "batch_config": ("B_E_values", "runs_per_batch", "updates", "reads", "most_reads", "target_se"),
    "probe": ("total_variance", "u_statistic"),
}
OPTIONAL = (ACTION_VALUES, RESPONSES)


def update_digest(spec: RunSpec, inputs: str) -> str:
    """16 hexadecimal digits that identify an update: two specs with the same have the same.

    Args:
        spec: of a run along the update.
        inputs: digest of the prompts and of the rewards' sources.
    """
    settings = {name: value for name, value in spec.settings.items() if name not in _OTHER_SECTIONS}
    for section, names in _OTHER_KEYS.items():
        values = settings[section]
        assert isinstance(values, dict)
        settings[section] = {name: value for name, value in values.items() if name not in names}
    machine = [environment(), platform.machine(), package_digest()]
    content = [spec.checkpoint_digest, spec.update_seed, settings, is_checked(spec), inputs, machine]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def is_checked(spec: RunSpec) -> bool:
    """Whether the update is compared with second computations, which its record then holds."""
    return "definition" in ExperimentConfig.model_validate(spec.settings).asked_of(spec.run, spec.B_E)


class SharedUpdates:
    """The update batches that experiments of one results directory share.

    Args:
        root: the results directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / UPDATE_BATCHES

    @contextmanager
    def entry(self, digest: str) -> Iterator[Path]:
        """The path of an entry, locked against other processes; it may not exist yet."""
        (self.root / LOCKS).mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / LOCKS / f"{digest}.lock"):
            yield self.root / digest

    @staticmethod
    def take(entry: Path, directory: Path, session: str | None) -> StoredUpdate | None:
        """Put a stored entry's files into an experiment's directory, the record last; None where there is no entry.

        The record's times and memory are left empty: the experiment has not spent them.

        Args:
            entry: the entry's path.
            directory: of the experiment's update batch.
            session: the stamp of the session whose entries are taken; None for all sessions.
        """
        try:
            if session is not None and (entry / SESSION).read_text(encoding="utf-8") != session:
                return None
            record = StoredUpdate.from_dict(read_json(entry / UPDATE_RECORD))
            _link(entry / DIRECTION, directory / DIRECTION)
            for name in OPTIONAL:
                if (entry / name).is_file():
                    _link(entry / name, directory / name)
        except (OSError, ValueError):
            return None
        record = replace(record, seconds={}, memory_mb={})
        write_json(directory / UPDATE_RECORD, record.to_dict())
        return record

    @staticmethod
    def put(directory: Path, entry: Path, session: str) -> None:
        """Keep a new update's files as an entry, whole or not at all.

        Args:
            directory: of the experiment's update batch.
            entry: the entry's path; what it holds of an earlier session is replaced.
            session: the session's stamp.
        """
        partial = entry.with_name(f".{entry.name}.partial")
        # Under the lock, a partial directory can only be left over from a killed process.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name in (DIRECTION, *OPTIONAL):
            if (directory / name).is_file():
                _link(directory / name, partial / name)
        shutil.copyfile(directory / UPDATE_RECORD, partial / UPDATE_RECORD)
        write_text(partial / SESSION, session)
        shutil.rmtree(entry, ignore_errors=True)
        os.rename(partial, entry)


def remove_unused(root: Path) -> None:
    """Remove the entries whose files no experiment has any more; one in use is never removed.

    Args:
        root: the results directory.
    """
    shared = SharedUpdates(root)
    for place in sorted(shared.root.glob("[!.]*")):
        with shared.entry(place.name):
            direction = place / DIRECTION
            if not direction.is_file() or direction.stat().st_nlink == 1:
                shutil.rmtree(place, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system has no second names."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
