"""Write ``sessions/<time>/index.html``, a page per session with each experiment's verdict and a link to its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.records.files import read_json, write_json, write_text
from pytest_entropy.records.paths import INDEX, SESSION_RECORD, SESSIONS
from pytest_entropy.records.results_directory import all_experiments
from pytest_entropy.records.session import SessionRecord
from pytest_entropy.reports.measured_change import measured_change
from pytest_entropy.reports.pages import page
from pytest_entropy.reports.session_rows import WORDS, ExperimentRow, relative_url, session_verdict, time_of
from pytest_entropy.reports.tables import SizeTable, size_table
from pytest_entropy.reports.view import ExperimentView


@dataclass(frozen=True)
class IndexEntry:
    """One experiment on a session's page, with its row and its table by B_E."""

    view: ExperimentView
    row: ExperimentRow
    table: SizeTable


def write_session_record(root: Path, stamp: str, directories: Sequence[Path]) -> None:
    """Write the record of a session's experiments; the manifests of resumed ones have an older session's stamp.

    Args:
        root: the results directory.
        stamp: the session's time stamp.
        directories: the experiment directories of the session, below ``root``.
    """
    place = root / SESSIONS / stamp
    place.mkdir(parents=True, exist_ok=True)
    names = [directory.relative_to(root).as_posix() for directory in directories]
    write_json(place / SESSION_RECORD, SessionRecord(stamp=stamp, experiments=names).to_dict())


def sessions(root: Path) -> dict[str, list[Path]]:
    """Experiment directories by session stamp, oldest session first.

    A session that was killed before it wrote its record is found by its stamp in the experiments' manifests.
    """
    by_stamp: dict[str, list[Path]] = {}
    for directory, manifest in all_experiments(root):
        by_stamp.setdefault(manifest.stamp, []).append(directory)
    for file in sorted((root / SESSIONS).glob(f"*/{SESSION_RECORD}")):
        try:
            session = SessionRecord.from_dict(read_json(file))
        except (OSError, ValueError):
            continue  # not a session's record; the manifests remain
        present = [root / name for name in session.experiments if (root / name).is_dir()]
        if present:
            by_stamp[session.stamp] = present
        else:
            by_stamp.pop(session.stamp, None)
    return dict(sorted(by_stamp.items()))


def index_of(root: Path, stamp: str) -> Path:
    """Path of the session's page, which may not exist."""
    return root / SESSIONS / stamp / INDEX


def write_index(root: Path, stamp: str, views: Sequence[ExperimentView]) -> Path:
    """Write the session's page and return its path."""
    file = index_of(root, stamp)
    place = file.parent
    place.mkdir(parents=True, exist_ok=True)
    entries = [
        IndexEntry(
            view,
            ExperimentRow.of(view.directory, view.manifest, view.tone, measured_change(view), page=place),
            size_table(view),
        )
        for view in views
    ]
    tone, sentence = session_verdict([entry.row for entry in entries])
    overview = relative_url(root / INDEX, place)
    write_text(
        file,
        page(
            "index.html", time=time_of(stamp), entries=entries, tone=tone, sentence=sentence, overview=overview,
            words=WORDS,
        ),
    )  # fmt: skip
    return file
