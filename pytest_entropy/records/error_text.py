"""The format of a failed run's ``error.txt``: the session's stamp, then the traceback; and the reason read from it.

A run that failed because of another directory (the update's) has one line in place of a traceback, which names it.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from pytest_entropy.records.paths import ERROR, earlier_error, is_update_directory

# Precedes the path of the traceback in the messages of failed items.
POINTER = "traceback: "
_SEE = re.compile(r"^see (\S+)/error(?:_\d+)?\.txt(?:, attempt (\d+))?$", re.MULTILINE)
# This package's exceptions are said by their message alone: their types tell a user nothing.
_OWN_TYPES = re.compile(r"^(?:pytest_entropy(?:\.\w+)+: )+")


def stamp_line(stamp: str) -> str:
    """The first line of the ``error.txt`` of a run that failed in the session with this stamp."""
    return f"session {stamp}\n"


def text_of(error: BaseException, stamp: str) -> str:
    """The text of the ``error.txt`` of a run that raised ``error``."""
    return stamp_line(stamp) + "".join(traceback.format_exception(error))


def text_of_dependent(directory: str, stamp: str, attempt: int = 1) -> str:
    """The text of the ``error.txt`` of a run that failed because the sibling ``directory`` did.

    Args:
        directory: the sibling's name.
        stamp: the session's.
        attempt: the number of the sibling's attempt that failed.
    """
    which = f", attempt {attempt}" if attempt > 1 else ""
    return f"{stamp_line(stamp)}see {directory}/{ERROR}{which}\n"


def kept_text(text: str) -> str:
    """The text of an ``error.txt`` when another attempt follows: a dependent's names the file that is kept likewise."""
    found = _SEE.search(text)
    if found is None:
        return text
    return text.replace(found[0], f"see {found[1]}/{earlier_error(int(found[2] or 1))}")


def text_of_killed(log: str) -> str:
    """The text for an attempt whose process ended before it could write an error.

    Args:
        log: the last lines of what it logged.
    """
    indented = "".join(f"    {line}\n" for line in log.splitlines())
    return f"{indented}the process that computed it was killed; above is the end of its log\n"


def directory_in(text: str) -> str | None:
    """The directory that a dependent's ``error.txt`` names; None if it holds the run's own failure."""
    found = _SEE.search(text)
    return found[1] if found else None


def reason_in(text: str) -> str:
    """The exception's message in the text of an ``error.txt``, with its type unless that is one of this package's."""
    lines = [line for line in text.splitlines() if not line.startswith(("session ", POINTER))]
    frames = [n for n, line in enumerate(lines) if line.startswith('  File "')]
    unindented = [n for n, line in enumerate(lines) if line and not line.startswith(" ")]
    # A message may have lines of its own, so that it begins after the last frame, and not at the last unindented line.
    starts = [n for n in unindented if n > frames[-1]][:1] if frames else unindented[-1:]
    return _OWN_TYPES.sub("", "\n".join(lines[starts[0] :])) if starts else text


def sentence_in(text: str) -> str:
    """The first line of the reason in the text of an ``error.txt``."""
    return first_line(reason_in(text))


def first_line(reason: str) -> str:
    """The first line of a message, which says what is wrong; further lines show where."""
    return (reason.strip().splitlines() or ["no message"])[0]


def traceback_in(text: str) -> str:
    """The text of an ``error.txt`` without the session's line; empty for a dependent's."""
    return "" if directory_in(text) else text.partition("\n")[2] if text.startswith("session ") else text


def shown(path: Path) -> str:
    """A path as messages name it: relative to the working directory, if it lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def in_words(directory: str) -> str:
    """What failed, by the name of its directory."""
    return "the update batch" if is_update_directory(directory) else directory
