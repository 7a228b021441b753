"""Read the files of an experiment's directory as records, with errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pytest_entropy.errors import UsageError
from pytest_entropy.records.collection import uncollected
from pytest_entropy.records.files import read_json, state_of
from pytest_entropy.records.paths import CONFIG, ERROR, RESULTS
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.yaml_file import read_yaml

T = TypeVar("T")


def mapping_in(path: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no file.

    Raises:
        UsageError: the file holds no JSON object.
    """
    try:
        record = read_json(path) if path.is_file() else {}
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise UsageError(f"{path} holds {type(record).__name__}, expected keys and values")
    return record


def record_in(path: Path, what: str, of: Callable[[Any], T]) -> T | None:
    """The record in a file, None if the file is missing or holds an empty object.

    Args:
        path: the file.
        what: it is, in words.
        of: makes the record of the object.

    Raises:
        UsageError: the file does not hold such a record.
    """
    content = mapping_in(path)
    try:
        return of(content) if content else None
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not {what}: {type(error).__name__}: {error}") from error


def first_config(directory: Path) -> dict[str, Any]:
    """The configuration in the first run directory that has one; all runs have the same."""
    files = (os.path.join(directory, name, CONFIG) for name in sorted(os.listdir(directory)))
    file = next((file for file in files if os.path.exists(file)), None)
    return read_yaml(Path(file))[0] if file else {}


@uncollected()
def runs_in(directory: Path) -> tuple[list[RunRecord], dict[str, str]]:
    """The stored runs of an experiment, and the error texts of failed ones by directory."""
    runs, failures = [], {}
    for name in sorted(name for name in os.listdir(directory) if not name.startswith(".")):
        place = os.path.join(directory, name)
        results, error_text = os.path.join(place, RESULTS), os.path.join(place, ERROR)
        if state_of(results) is not None:
            try:
                with open(results, "rb") as stream:
                    runs.append(RunRecord.from_json(stream.read(), directory=name).slim())
            except (OSError, ValueError, OverflowError) as error:
                failures[name] = f"{name}/{RESULTS} cannot be read: {type(error).__name__}: {error}\n"
        elif state_of(error_text) is not None:
            failures[name] = Path(error_text).read_text(encoding="utf-8", errors="replace")
    return sorted(runs, key=lambda run: (run.B_E, run.run)), failures
