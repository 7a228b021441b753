"""The description of a directory by torch.distributed.checkpoint: a pickle, parsed without importing any code.

The dozen names such a file references become inert records: no class is instantiated and no function called.
"""

from __future__ import annotations

import math
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.formats.safe_unpickler import UnpickledObject, unpickle
from pytest_entropy.checkpoints.layouts.dcp import METADATA
from pytest_entropy.errors import UsageError

# A hundred bytes and more for each rank that holds a part of a tensor: enough for a few hundred ranks.
_BASE, _PER_TENSOR = 2**20, 2**14


def _size(numbers: Any = ()) -> tuple[int, ...]:
    """Stands in for ``torch.Size``."""
    # torch has at most 64 dimensions; a file could ask for one of 100,000 again and again.
    few = isinstance(numbers, tuple | list) and len(numbers) <= 64
    if not few or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise pickle.UnpicklingError("a torch.Size that is not a tuple of whole numbers")
    return tuple(numbers)


_DTYPE = re.compile(r"(?:b?float|u?int|complex|q?u?int|bits|bool)[0-9a-z_]*")
_KNOWN = {
    "torch.distributed.checkpoint.metadata": (
        "Metadata",
        "TensorStorageMetadata",
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "TensorProperties",
        "MetadataIndex",
        "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    # The module of two of these names in older versions of torch.
    "torch.distributed._shard.sharded_tensor.metadata": ("TensorProperties", "MEM_FORMAT_ENCODING"),
    "torch.serialization": ("_get_layout",),
    "pathlib": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "pathlib._local": ("PosixPath", "WindowsPath"),
}


def _known(module: str, name: str) -> Any:
    if (module, name) == ("torch", "Size"):
        return _size
    if module == "torch" and _DTYPE.fullmatch(name):
        return name
    return UnpickledObject if name in _KNOWN.get(module, ()) else None


@dataclass(frozen=True)
class Part:
    """A byte range of a file of the directory; ``offset`` is the position of the part in its tensor, per dimension."""

    file: str
    start: int
    length: int
    offset: tuple[int, ...]


@dataclass(frozen=True)
class Item:
    """One entry: its path in the nested dictionaries, its shape if it is a tensor (else None), and its parts."""

    key: str
    path: tuple[str | int, ...]
    size: tuple[int, ...] | None
    parts: tuple[Part, ...]


def read_description(directory: Path, *, tensors: int) -> list[Item]:
    """The entries that a directory's ``.metadata`` describes, checked against the files that are there.

    Args:
        directory: with ``.metadata`` and the files it names.
        tensors: number of tensors that a directory for this model may describe at most; bounds the bytes parsed.

    Raises:
        UsageError: ``.metadata`` is damaged, too large or references importable code, or a part it names is missing.
    """
    where = directory / METADATA
    record = _unpickled(where, tensors)
    names = ("state_dict_metadata", "storage_data", "planner_data")
    tables = [table for name in names if isinstance(table := getattr(record, name, None), dict)]
    if len(tables) < len(names):
        raise UsageError(
            f"{where} lacks state_dict_metadata, storage_data or planner_data: not written by dcp.save, or damaged"
        )
    entries, places, paths = tables
    sizes = {file.name: file.stat().st_size for file in directory.iterdir() if file.is_file()}
    parts: dict[Any, list[Part]] = {key: [] for key in entries}
    for index, place in places.items():
        key = getattr(index, "fqn", None)
        if not isinstance(key, str) or key not in parts:
            raise UsageError(f"{where} places a part of {str(key)[:60]!r}, which it does not describe: damaged")
        parts[key].append(_part(f"{directory}, {key[:80]}", getattr(index, "offset", None), place, sizes))
    return [_item(where, key, entry, paths.get(key), parts[key]) for key, entry in entries.items()]


def _part(where: str, offset: Any, place: Any, sizes: dict[str, int]) -> Part:
    name, start, length = (getattr(place, key, None) for key in ("relative_path", "offset", "length"))
    if getattr(place, "transform_descriptors", None):
        raise UsageError(f"{where}: stored compressed or otherwise transformed, which is not supported")
    if not isinstance(name, str) or name not in sizes:
        raise UsageError(f"{where}: is in {str(name)[:60]!r}, which is not a file of this directory")
    if type(start) is not int or type(length) is not int or not 0 <= start <= start + length <= sizes[name]:
        raise UsageError(f"{where}: is beyond the end of {name} ({sizes[name]} bytes): truncated or damaged")
    return Part(name, start, length, offset if isinstance(offset, tuple) else ())


def _item(where: Path, key: Any, entry: Any, path: Any, parts: list[Part]) -> Item:
    if not isinstance(key, str) or not isinstance(path, tuple) or not path:
        raise UsageError(f"{where} does not say where {str(key)[:60]!r} belongs: damaged")
    if not all(type(part) in (str, int) for part in path):
        raise UsageError(f"{where} does not say where {key[:60]!r} belongs: damaged")
    size = getattr(entry, "size", None)
    if size is None and len(parts) != 1:
        raise UsageError(f"{where}: {key[:80]} is stored {len(parts)} times, expected once: incomplete or damaged")
    if size is not None and (not isinstance(size, tuple) or math.prod(size) > sum(part.length for part in parts)):
        raise UsageError(
            f"{where}: {key[:80]} has {len(parts)} parts, too small for its size {str(size)[:60]}: incomplete or "
            "damaged"
        )
    return Item(key, path, size, tuple(parts))


def _unpickled(where: Path, tensors: int) -> Any:
    """The record in a ``.metadata`` file: its attributes are dictionaries of inert keys and values."""
    limit = _BASE + _PER_TENSOR * tensors
    try:
        if where.stat().st_size > limit:
            raise UsageError(f"{where} has {where.stat().st_size} bytes, more than the {limit} this model's could take")
        return unpickle(where.read_bytes(), _known)
    except UsageError:
        raise
    # A damaged pickle may raise any kind of exception.
    except Exception as error:
        reason = str(error)[:120] or type(error).__name__
        raise UsageError(
            f"{where} is damaged, or holds more than a description of tensors, which alone is read: {reason}"
        ) from error
