"""Atomic file writes: to a temporary file in the same directory, flushed, then renamed; and reading JSON back."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

# Time of the last change, size and number of a file: while they stay, so does what was read from it.
FileState = tuple[int, int, int]


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: a reader sees the old content or the new, never a part.

    Args:
        path: the file.
        text: its new content, written as UTF-8.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def write_json(path: Path, record: Any) -> None:
    """Write plain builtins as indented JSON, atomically.

    Args:
        path: the file.
        record: mappings, lists, numbers, strings, None.

    Raises:
        ValueError: a number is not finite.
        TypeError: a value has no JSON type; nothing is converted to a string silently.
    """
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: the content is not JSON, or is nested deeper than Python's recursion limit.
        OSError: the file cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def state_of(path: str | Path) -> FileState | None:
    """The state of a file, equal as long as the file was not replaced or written; None where there is no file.

    Raises:
        OSError: the directory cannot be searched.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None
