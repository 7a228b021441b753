"""``sessions/<time>/index.html``: one page per session, with each experiment's verdict and its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytest_entropy.records.files import read_json, write_json, write_text
from pytest_entropy.records.paths import all_experiments
from pytest_entropy.reports.html import page
from pytest_entropy.reports.tables import by_batch_size, errors_in_words
from pytest_entropy.reports.view import ExperimentView

SESSIONS = "sessions"
RECORD = "session.json"
INDEX = "index.html"


def write_session_record(root: Path, stamp: str, directories: Sequence[Path]) -> None:
    """Which experiments the session was about; resumed ones carry an older session's stamp."""
    place = root / SESSIONS / stamp
    place.mkdir(parents=True, exist_ok=True)
    names = [directory.relative_to(root).as_posix() for directory in directories]
    write_json(place / RECORD, {"schema_version": 1, "stamp": stamp, "experiments": names})


def sessions(root: Path) -> dict[str, list[Path]]:
    """Experiment directories by session stamp, oldest session first.

    A session killed before it wrote its record is known by its stamp in the experiments' manifests.
    """
    found: dict[str, list[Path]] = {}
    for directory, manifest in all_experiments(root):
        found.setdefault(str(manifest.get("stamp", "")), []).append(directory)
    for record in sorted((root / SESSIONS).glob(f"*/{RECORD}")):
        try:
            content: dict[str, Any] = read_json(record)
            stamp, names = str(content["stamp"]), [str(name) for name in content["experiments"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not ours; what the manifests say has to do
        there = [root / name for name in names if (root / name).is_dir()]
        if there:
            found[stamp] = there
        else:
            found.pop(stamp, None)
    return dict(sorted(found.items()))


def index_of(root: Path, stamp: str) -> Path:
    """Where the session's page is or belongs."""
    return root / SESSIONS / stamp / INDEX


def write_index(root: Path, stamp: str, views: Sequence[ExperimentView]) -> Path:
    """Write the session's page; returns its path."""
    file = index_of(root, stamp)
    place = file.parent
    place.mkdir(parents=True, exist_ok=True)
    entries = [
        {
            "view": view,
            "link": quote(Path(os.path.relpath(view.directory, place)).as_posix()),
            "table": by_batch_size(view),
            "errors": errors_in_words(view),
        }
        for view in views
    ]
    write_text(file, page("index.html", stamp=stamp, entries=entries))
    return file
