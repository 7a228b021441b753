"""Results directories: stamp a session uniquely, and find and list the experiments of earlier sessions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.files import read_json
from pytest_entropy.records.paths import MANIFEST, STAMPS


def session_stamp() -> str:
    """The current time as a session stamp, such as ``2026-01-31_12-00-00``."""
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def claim_stamp(results: Path, stamp: str, *, named: bool = False) -> str:
    """Reserve a session stamp, and return it, with a suffix if another session has reserved it already.

    Args:
        results: the results directory, which is created if it does not exist.
        stamp: by :func:`session_stamp`.
        named: whether the user named the directory, in which case it may be a symbolic link.

    Raises:
        UsageError: the results directory cannot be written, or is a symbolic link that the user did not name.
    """
    if not named:
        require_plain(results)
    try:
        for number in range(1, 10_000):
            name = stamp if number == 1 else f"{stamp}_{number}"
            # Each time: another session that left nothing behind may have removed the directory.
            (results / STAMPS).mkdir(parents=True, exist_ok=True)
            try:
                os.close(os.open(results / STAMPS / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except (FileExistsError, FileNotFoundError):
                continue
            return name
    except OSError as error:
        raise UsageError(f"results directory {results} cannot be written: {error.strerror}") from error
    raise UsageError(f"results directory {results}: ten thousand sessions in one second")


def withdraw_stamp(results: Path, stamp: str, *, existed: bool) -> None:
    """Remove what :func:`claim_stamp` wrote for a session that leaves no results, and the lock of that session.

    Args:
        results: the results directory.
        stamp: the session's.
        existed: whether the results directory was there before the session; it then stays, even if it is empty.
    """
    for name in (f"{stamp}.lock", stamp):
        (results / STAMPS / name).unlink(missing_ok=True)
    for directory in (results / STAMPS, *(() if existed else (results,))):
        # One with entries is another session's, too.
        with suppress(OSError):
            directory.rmdir()


def require_plain(results: Path) -> None:
    """Reject a results directory that is a symbolic link or has one as an entry: results would be written elsewhere.

    Raises:
        UsageError: names the link and its target.
    """
    for path in (results, *(results / name for name in _names(results))):
        if path.is_symlink():
            raise UsageError(
                f"{path} is a symbolic link to {os.readlink(path)}: results would be written there; "
                "remove the link or give --entropy-results"
            )


def _names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.is_dir() else []


def read_manifest(directory: Path) -> ExperimentRecord | None:
    """Read an experiment directory's manifest; None if it is missing, unreadable or another tool's."""
    try:
        return ExperimentRecord.from_dict(read_json(directory / MANIFEST))
    except (OSError, ValueError):
        return None


def experiments_in(category: Path) -> Iterator[tuple[Path, ExperimentRecord]]:
    """Yield the experiment directories of a category with their manifests, oldest first."""
    experiments = []
    for name in _names(category):
        manifest = read_manifest(category / name)
        if manifest is not None:
            experiments.append((manifest.stamp, category / name, manifest))
    for _, directory, manifest in sorted(experiments, key=lambda entry: entry[:2]):
        yield directory, manifest


def all_experiments(root: Path) -> Iterator[tuple[Path, ExperimentRecord]]:
    """Yield every experiment directory of a results directory with its manifest, by category, oldest first."""
    for name in _names(root):
        if not name.startswith(".") and (root / name).is_dir():
            yield from experiments_in(root / name)


def find_resumable(
    category: Path,
    checkpoint_digest: str,
    config_digest: str,
    versions: Mapping[str, str] | None = None,
    *,
    experiment: str | None = None,
) -> tuple[Path | None, str]:
    """The newest experiment directory with these digests and versions, and why a newer one is not continued.

    Runs of two versions of the software in one directory would be compared and averaged as if of one.

    Args:
        category: the directory of all experiments of one kind, which may hold those of another.
        checkpoint_digest: digest of the checkpoint's content.
        config_digest: digest of the configuration.
        versions: of the packages on which a result depends, as the manifest's environment has them.
        experiment: name of the experiment; of any name if left out.

    Returns:
        The directory, None if there is none; and the versions that a newer directory differs in, in words.
    """
    wanted = (checkpoint_digest, config_digest)
    matching = [
        (directory, manifest.environment)
        for directory, manifest in experiments_in(category)
        if (manifest.checkpoint_digest, manifest.config_digest) == wanted and experiment in (None, manifest.experiment)
    ]
    reason = ""
    for directory, stored in reversed(matching):
        other = [
            f"{name} {stored.get(name, 'of unknown version')}, now {version}"
            for name, version in (versions or {}).items()
            if stored.get(name) != version
        ]
        if not other:
            return directory, reason
        reason = reason or f"{directory.name} was measured with {'; '.join(other)}"
    return None, reason
