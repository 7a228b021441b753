"""Find the directories of the old script ``run_entropy_test.py``: they are named, but hold too little for a report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.records.paths import LEGACY, MANIFEST
from pytest_entropy.settings.experiments import KNOWN

_OF_KIND = {kind.directory: kind.name for kind in KNOWN.values()}
_DATE = r"\d{4}-\d{2}-\d{2}"
# As `migrate` names them, and as the old script named its experiments itself.
_NAMES = re.compile(rf"{LEGACY}.*|({'|'.join(_OF_KIND)})_{_DATE}_\d{{2}}-\d{{2}}-\d{{2}}")


@dataclass(frozen=True)
class Legacy:
    """A directory of the old script.

    Attributes:
        directory: its path.
        kind: the kind of experiment, by its name or its category.
        date: the date in its name; empty without one.
    """

    directory: Path
    kind: str
    date: str


def legacy_at(place: Path) -> Iterator[Legacy]:
    """Yield the old script's directories at a place: such a directory, a category, or a results directory."""
    if (place / MANIFEST).exists():
        # An experiment of this package, with perhaps thousands of runs.
        return
    for depth in ("", "*", "*/*"):
        for directory in sorted(place.glob(depth)) if depth else [place]:
            name = _NAMES.fullmatch(directory.name)
            if name is not None and directory.is_dir() and not (directory / MANIFEST).exists():
                date = re.search(_DATE, directory.name)
                kind = _OF_KIND.get(name[1], directory.absolute().parent.name)
                yield Legacy(directory, kind, date.group() if date else "")
