"""The attempts at a run, or at an update batch: the errors of the earlier ones stay beside what the last one left.

A directory that was computed at once has no such file, and its files are those of a session that never failed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pytest_entropy.records.error_text import kept_text, sentence_in, stamp_line
from pytest_entropy.records.files import write_text
from pytest_entropy.records.paths import ERROR, earlier_error


def earlier_errors(directory: str | Path) -> list[str]:
    """The names of the files with the errors of earlier attempts, oldest first; empty if the first was the last."""
    names: list[str] = []
    while os.path.isfile(os.path.join(directory, earlier_error(len(names) + 1))):
        names.append(earlier_error(len(names) + 1))
    return names


def attempts_in(directory: str | Path) -> int:
    """The number of attempts at what a directory holds, that which succeeded or failed last included."""
    return 1 + len(earlier_errors(directory))


def earlier_reasons(experiment: Path) -> dict[str, list[str]]:
    """The first lines of the errors of earlier attempts, by directory of an experiment's that has some."""
    found = {}
    for name in sorted(name for name in os.listdir(experiment) if not name.startswith(".")):
        if errors := earlier_errors(experiment / name):
            found[name] = [sentence_in(_text(experiment / name / error)) for error in errors]
    return found


def failures_of_session(directory: Path, stamp: str) -> int:
    """The number of attempts that failed in one session, counted back from the last failure.

    Args:
        directory: the run's, or the update batch's.
        stamp: the session's.
    """
    count = 0
    for name in (ERROR, *reversed(earlier_errors(directory))):
        if not (directory / name).is_file() or not _text(directory / name).startswith(stamp_line(stamp)):
            break
        count += 1
    return count


def keep_errors(before: Path, after: Path, killed: str | None = None) -> None:
    """Copy the errors of all attempts so far into the directory that replaces theirs.

    Args:
        before: the directory that is replaced; it may not exist.
        after: the new one.
        killed: the text of an attempt after them that was killed; None if there was none.
    """
    names = earlier_errors(before)
    for name in names:
        shutil.copyfile(before / name, after / name)
    texts = [kept_text(_text(before / ERROR))] if (before / ERROR).is_file() else []
    for text in texts + ([killed] if killed is not None else []):
        names.append(earlier_error(len(names) + 1))
        write_text(after / names[-1], text)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
