"""Prompts that a trainer logged beside its checkpoints: TRL's and ms-swift's completions, verl's rollouts.

The files are read as data, and few of their rows.  TRL writes ``completions/completions_00005.parquet``, ms-swift
``completions.jsonl`` with a list per column and step, and verl ``5.jsonl`` in its ``trainer.rollout_data_dir``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles

# Different prompts that are read, rows that are looked at for them, and characters of one.
MOST = 16
_ROWS = 256
_LONGEST = 2**20
# Bytes of a file, and of a line.
_LARGEST_FILE = 256 * 2**20
_LARGEST_LINE = 8 * 2**20
_ENTRIES = 20_000
_FURTHER = 50
_DIRECTORY = re.compile(r"completion|rollout|generation", re.IGNORECASE)
_FILE = re.compile(r"(?:completions?|rollouts?|generations?|step|train)?[-_]?(\d{1,12})?\.(parquet|jsonl)")
# Directories of a checkpoint within its run's.
_STEP = re.compile(r"(?:.*[-_])?(?:checkpoint|ckpt|step|iter|iteration)[-_]?(\d{1,12})", re.IGNORECASE)
_INSIDE = ("actor", "huggingface", "policy", "lora_adapter", "checkpoints")
_COLUMNS = ("prompt", "input", "messages")
_DEEPEST = 4

Logged = str | list[dict[str, Any]]


@dataclass(frozen=True)
class LoggedPrompts:
    """Some of the prompts in a trainer's log.

    Attributes:
        path: the file.
        step: of the trainer; None where the file's name does not say.
        prompts: different ones, as the trainer wrote them: texts, with special tokens or without, or messages.
    """

    path: Path
    step: int | None
    prompts: tuple[Logged, ...]

    @property
    def name(self) -> str:
        """The file in a sentence, with the step where it is known."""
        return f"{self.path.parent.name}/{self.path.name}" + ("" if self.step is None else f" (step {self.step})")


def logged_prompts(files: CheckpointFiles) -> LoggedPrompts | None:
    """The prompts in the trainer's log nearest before a checkpoint; None where there is no log that can be read.

    Args:
        files: paths of the checkpoint.
    """
    step = _step_of(files.root)
    found = sorted(set(_logs(files.root)), key=lambda log: _distance(log[0], step))
    for at, path in found[:3]:
        # A damaged file of a stranger may raise any kind of exception, and is no log then.
        try:
            prompts = _some_of(path)
        except Exception:
            continue
        if prompts:
            return LoggedPrompts(path, at, prompts)
    return None


def _step_of(root: Path) -> int | None:
    """The step in the name of a checkpoint's directory, or of the one around it (``global_step_10/actor``)."""
    for name in (root.name, root.parent.name, root.parent.parent.name):
        if found := _STEP.fullmatch(name):
            return int(found[1])
    return None


def _distance(at: int | None, step: int | None) -> tuple[int, int]:
    """Order of the logs: those up to the checkpoint's step, the latest first; then those after it, and without one."""
    if at is None:
        return 2, 0
    if step is None:
        return 0, -at
    return (0, step - at) if at <= step else (1, at - step)


def _logs(root: Path) -> Iterator[tuple[int | None, Path]]:
    """(step, file) of the logs in a run's directory and in directories with such names there."""
    place = root.absolute()
    places = [place]
    while len(places) < _DEEPEST and (place.name in _INSIDE or _STEP.fullmatch(place.name)):
        place = place.parent
        places.append(place)
    for directory in places:
        yield from _in(directory, whole_names=True)
        for inner in _entries(directory):
            if _DIRECTORY.search(inner.name) and _is_of_training(inner):
                yield from _in(Path(inner.path), whole_names=False)
                # Of one run among several, or of training beside evaluation.
                for further in _entries(Path(inner.path))[:_FURTHER]:
                    if _is_of_training(further):
                        yield from _in(Path(further.path), whole_names=False)


def _is_of_training(entry: os.DirEntry[str]) -> bool:
    return not re.search("val|eval|test", entry.name, re.IGNORECASE) and entry.is_dir()


def _in(directory: Path, *, whole_names: bool) -> Iterator[tuple[int | None, Path]]:
    """The logs in one directory; among other files (``whole_names``) only those called completions."""
    for entry in _entries(directory):
        found = _FILE.fullmatch(entry.name)
        if found and entry.is_file() and (not whole_names or entry.name.startswith("completion")):
            yield (int(found[1]) if found[1] else None), Path(entry.path)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry, _ in zip(entries, range(_ENTRIES), strict=False)]
    except OSError:
        return []


def _some_of(path: Path) -> tuple[Logged, ...]:
    """The first different prompts of a log."""
    if path.stat().st_size > _LARGEST_FILE and path.suffix == ".parquet":
        return ()
    different: dict[str, Logged] = {}
    rows = _of_parquet(path) if path.suffix == ".parquet" else _of_jsonl(path)
    for value, _ in zip(rows, range(_ROWS), strict=False):
        prompt = _prompt(value)
        if prompt is not None:
            different.setdefault(json.dumps(prompt, sort_keys=True, default=str), prompt)
        if len(different) == MOST:
            break
    return tuple(different.values())


def _prompt(value: Any) -> Logged | None:
    if isinstance(value, str):
        return value if value.strip() and len(value) <= _LONGEST else None
    if isinstance(value, list) and value and all(isinstance(one, dict) and "role" in one for one in value):
        return value
    return None


def _of_parquet(path: Path) -> Iterator[Any]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        column = next((name for name in _COLUMNS if name in file.schema_arrow.names), None)
        if column is None or sum(_bytes(file, n) for n in range(file.num_row_groups)) > _LARGEST_FILE:
            return
        for batch in file.iter_batches(batch_size=_ROWS, columns=[column]):
            yield from batch.column(0).to_pylist()


def _bytes(file: Any, group: int) -> int:
    return int(file.metadata.row_group(group).total_byte_size)


def _of_jsonl(path: Path) -> Iterator[Any]:
    with path.open("rb") as stream:
        while (line := stream.readline(_LARGEST_LINE + 1)) and len(line) <= _LARGEST_LINE:
            row = json.loads(line) if line.strip() else {}
            if not isinstance(row, Mapping):
                return
            value = next((row[name] for name in _COLUMNS if name in row), None)
            if isinstance(value, list) and value and not isinstance(value[0], Mapping):
                # One line of a step has a list for each column: texts, or conversations.
                yield from value
            else:
                yield value
