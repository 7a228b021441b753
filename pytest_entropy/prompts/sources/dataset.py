"""Prompts from data sets of the hub or on disk, through the ``datasets`` package (an extra)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.prompts.sources.base import Columns, PromptSource, from_rows

DATASETS = "datasets:"
_SAVED = ("state.json", "dataset_dict.json")


def read_dataset(source: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("row N", row) of ``datasets:NAME[[:CONFIG]:SPLIT]``, counted from 1; the split is ``train`` if not named.

    NAME is a data set of the hub (from the local cache if it is there) or a directory: one written by
    ``save_to_disk``, or one with data files.  Code that comes with a data set is never run.

    Raises:
        UsageError: the package is missing, or the data set, its configuration or its split does not exist.
    """
    name, config, split = _parts(source)
    try:
        import datasets
    except ImportError as error:
        raise UsageError(f"{source} needs the datasets package: pip install 'pytest-entropy[datasets]'") from error
    try:
        if any((Path(name) / file).is_file() for file in _SAVED):
            table = datasets.load_from_disk(name)
            if isinstance(table, datasets.DatasetDict):
                table = table[split]
        else:
            table = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the package raises dozens of kinds for a name that does not exist
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"data set {source.removeprefix(DATASETS)} cannot be loaded ({type(error).__name__}: {reason}); "
            "check name, configuration and split, or give its rows as a .jsonl or .parquet file, which needs no network"
        ) from error
    for number, row in enumerate(table, start=1):
        yield f"row {number}", row


def _parts(source: str) -> tuple[str, str | None, str]:
    """(name, configuration, split) of a ``datasets:`` source."""
    parts = source.removeprefix(DATASETS).split(":")
    if not all(parts) or len(parts) > 3:
        raise UsageError(f"{source!r} is not {DATASETS}NAME, {DATASETS}NAME:SPLIT or {DATASETS}NAME:CONFIG:SPLIT")
    name, *middle = parts[:-1] or parts
    return name, middle[0] if middle else None, parts[-1] if len(parts) > 1 else "train"


def open_source(source: str, columns: Columns) -> PromptSet:
    """Open the prompts of a data set.

    Raises:
        UsageError: the data set cannot be loaded, or a row is invalid.
    """
    return from_rows(read_dataset(source), f"data set {source.removeprefix(DATASETS)}", columns, from_table=True)


SOURCE = PromptSource(f"{DATASETS}NAME", lambda source: source.startswith(DATASETS), open_source)
