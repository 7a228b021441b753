"""Move the result directories of the old script into the categories of this package."""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.records.paths import ERROR, LEGACY, LOG, MANIFEST, RESULTS
from pytest_entropy.settings.experiments import KNOWN

_RUN = re.compile(r"(debug_)?BE\d+(_run\d+|_BU\d+)?$")
_REPEAT = re.compile(r"run\d+$")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_OF_A_RUN = (RESULTS, LOG, ERROR)


def category_of(directory: Path) -> str | None:
    """The kind of experiment in an old directory, by its name or its contents; None if neither tells."""
    name = directory.name.lower()
    inside = [entry.name for entry in directory.iterdir() if entry.is_dir()]
    if "debug" in name:
        return "debug"
    if "sanity" in name or "validation" in name or any(_REPEAT.match(entry) for entry in inside):
        return "sanity_check"
    if _RUN.match(directory.name) or any((directory / file).is_file() for file in _OF_A_RUN):
        return "single_run"
    if any(_RUN.match(entry) for entry in inside) or name.startswith(("test_", "batch", "flexible")):
        return "batch_scaling"
    return None


def moves(root: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """(source, target) of every old directory directly below ``root``, and the directories of no known kind.

    ``test_fixed_logging`` becomes ``batch_scaling/legacy_test_<date>``, ``BE016_run001`` becomes
    ``single_run/legacy_BE016_<date>``; where two would get the same name, both keep their whole old name in it.

    Raises:
        UsageError: a target exists already; nothing is moved.
    """
    placed, unknown = [], []
    for directory in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink()):
        if (
            directory.name.startswith(".")
            or directory.name in (*KNOWN, "sessions", "baselines")
            or _is_category(directory)
        ):
            continue
        category = category_of(directory)
        if category is None:
            unknown.append(directory)
        else:
            placed.append((directory, category))
    short = Counter((category, _target(d, d.name.split("_")[0])) for d, category in placed)
    out = []
    for directory, category in placed:
        name = _target(directory, directory.name.split("_")[0])
        if short[category, name] > 1:
            name = _target(directory, _DATE.sub("", directory.name).strip("_-"))
        out.append((directory, root / category / name))
    # A broken link takes its name, too.
    taken = [target for _, target in out if os.path.lexists(target)]
    if taken:
        raise UsageError(f"{taken[0]} exists already, nothing was moved: rename it or the old directory")
    blocked = [target.parent for _, target in out if os.path.lexists(target.parent) and not target.parent.is_dir()]
    if blocked:
        raise UsageError(f"{blocked[0]} is not a directory, nothing was moved: rename it")
    return out, unknown


def _is_category(directory: Path) -> bool:
    """Whether a directory is the category of a user's own experiment: it holds experiment directories."""
    return any((entry / MANIFEST).is_file() for entry in directory.iterdir())


def _target(directory: Path, name: str) -> str:
    return f"{LEGACY}{name}_{_date(directory)}"


def _date(directory: Path) -> str:
    """The date in a directory's name, else that of its newest file."""
    named = _DATE.search(directory.name)
    if named:
        return named.group()
    newest = max((file.stat().st_mtime for file in directory.rglob("*") if file.is_file()), default=None)
    return datetime.fromtimestamp(directory.stat().st_mtime if newest is None else newest).strftime("%Y-%m-%d")


def migrate(planned: list[tuple[Path, Path]]) -> None:
    """Move each source to its target, as planned by :func:`moves`.

    Raises:
        UsageError: a target exists by now.
    """
    for source, target in planned:
        target.parent.mkdir(exist_ok=True)
        # Renaming onto an empty directory would replace it.
        if os.path.lexists(target):
            raise UsageError(f"{target} exists already: {source} and the directories after it were not moved")
        os.rename(source, target)
