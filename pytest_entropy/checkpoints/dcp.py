"""Reading a directory by torch.distributed.checkpoint (DCP) without unpickling what it holds.

Its ``.metadata`` is a pickle that says which bytes of which file are which part of which tensor.  It is read by an
unpickler that knows the dozen names such a file needs, and makes an inert record of each: no class of torch or of
anyone else is built, no function called.  The parts themselves are read as every torch file is here.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytest_entropy.checkpoints.layouts.dcp import METADATA
from pytest_entropy.checkpoints.torch_file import plain_tensor, read_torch_bytes
from pytest_entropy.errors import UsageError

# A hundred bytes and more for each rank that holds a part of a tensor: enough for a few hundred ranks.
_BASE, _PER_TENSOR = 2**20, 2**14
# What pickle's fourth and fifth protocol need for plain data.  LONG_BINPUT and BYTEARRAY8 may claim any memory.
_OPCODES = frozenset(
    "PROTO FRAME STOP MARK MEMOIZE BINGET LONG_BINGET BINPUT POP NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 "
    "BINFLOAT SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD".split()
)


class _Record:
    """Stands for an object of the metadata: its constructor's arguments and its attributes, nothing else."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Name(_Record):
    """Stands for what is named and not called: a dtype, a layout."""


def _size(numbers: Any = ()) -> tuple[int, ...]:
    if not isinstance(numbers, tuple | list) or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise pickle.UnpicklingError("a size that is none")
    return tuple(numbers)


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
    # Where older versions of torch kept two of them.
    "torch.distributed._shard.sharded_tensor.metadata": ("TensorProperties", "MEM_FORMAT_ENCODING"),
    "torch.serialization": ("_get_layout",),
    "pathlib": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "pathlib._local": ("PosixPath", "WindowsPath"),
}


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch", "Size"):
            return _size
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return _Name(name)
        if name in _KNOWN.get(module, ()):
            return _Record
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_dcp(directory: Path, *, tensors: int) -> Any:
    """The nested dictionaries a DCP directory was made of, its tensors whole.

    Args:
        directory: with ``.metadata`` and ``*.distcp``.
        tensors: how many tensors a directory for this model may describe; bounds what is parsed.

    Raises:
        UsageError: damaged, incomplete, asking for code, or describing more than it holds.
    """
    where = directory / METADATA
    record = _metadata(where, tensors)
    tables = [getattr(record, key, None) for key in ("state_dict_metadata", "storage_data", "planner_data")]
    if not all(isinstance(table, dict) for table in tables):
        raise UsageError(
            f"{where} lacks state_dict_metadata, storage_data or planner_data: not by dcp.save, or damaged"
        )
    entries, places, paths = tables
    parts: dict[str, list[tuple[tuple[int, ...], Any]]] = {}
    with _Files(directory) as files:
        for index, place in places.items():
            key, offset = getattr(index, "fqn", None), getattr(index, "offset", None)
            if key not in entries:
                raise UsageError(f"{where} places a part of {str(key)[:60]!r}, which it does not describe: damaged")
            parts.setdefault(key, []).append((offset or (), files.read(key, place)))
    root: dict[Any, Any] = {}
    for key, entry in entries.items():
        _put(root, _path(where, key, paths), _whole(f"{where}: {str(key)[:80]}", entry, parts.get(key, [])))
    return _lists(root)


def _metadata(where: Path, tensors: int) -> Any:
    """The record in ``.metadata``."""
    limit = _BASE + _PER_TENSOR * tensors
    try:
        if where.stat().st_size > limit:
            raise UsageError(f"{where} has {where.stat().st_size} bytes, more than the {limit} this model's could take")
        data = where.read_bytes()
        strange = {opcode.name for opcode, _, _ in pickletools.genops(data)} - _OPCODES
        if strange:
            raise pickle.UnpicklingError(f"it uses {min(strange)}")
        return _InertUnpickler(io.BytesIO(data)).load()
    except UsageError:
        raise
    # A damaged pickle raises whatever the bytes happen to mean.
    except Exception as error:
        reason = str(error)[:120] or type(error).__name__
        raise UsageError(
            f"{where} is damaged, or more than a description of tensors, which is all that is read of it: {reason}"
        ) from error


class _Files:
    """The data files of one directory, opened once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, Any] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._open.values():
            stream.close()

    def read(self, key: str, place: Any) -> Any:
        """The object in one stretch of one file."""
        name, offset, length = (getattr(place, part, None) for part in ("relative_path", "offset", "length"))
        where = f"{self._directory}, {key[:80]}"
        if getattr(place, "transform_descriptors", None):
            raise UsageError(f"{where}: stored compressed or otherwise transformed, which is not supported")
        if not isinstance(name, str) or Path(name).name != name or not (self._directory / name).is_file():
            raise UsageError(f"{where}: is in {str(name)[:60]!r}, which is no file of this directory")
        if name not in self._open:
            self._open[name] = (self._directory / name).open("rb")
        size = (self._directory / name).stat().st_size
        if type(offset) is not int or type(length) is not int or not 0 <= offset <= offset + length <= size:
            raise UsageError(f"{where}: is beyond the end of {name} ({size} bytes): truncated or damaged")
        self._open[name].seek(offset)
        return read_torch_bytes(self._open[name].read(length), f"{where} in {name}")


def _whole(where: str, entry: Any, parts: list[tuple[tuple[int, ...], Any]]) -> Any:
    """A tensor put together from its parts; anything else as it is."""
    if not hasattr(entry, "size"):
        if len(parts) != 1:
            raise UsageError(f"{where} is stored {len(parts)} times, expected once: incomplete or damaged")
        return parts[0][1]
    size = entry.size
    pieces = [(offset, plain_tensor(part)) for offset, part in parts]
    fits = all(
        piece is not None
        and len(offset) == piece.dim() == len(size)
        and all(o + n <= s for o, n, s in zip(offset, piece.shape, size, strict=True))
        for offset, piece in pieces
    )
    found = sum(piece.numel() for _, piece in pieces if piece is not None)
    if not fits or not pieces or found != math.prod(size):
        raise UsageError(
            f"{where} has {found} of the {math.prod(size)} elements of {size} in {len(parts)} parts: a file of the "
            "directory is missing, or it is damaged"
        )
    tensors = [(offset, piece) for offset, piece in pieces if piece is not None]
    # Overlapping parts leave a hole elsewhere, which shows as not finite.
    whole = tensors[0][1].new_full(size, math.nan if tensors[0][1].is_floating_point() else 0)
    for offset, piece in tensors:
        whole[tuple(slice(o, o + n) for o, n in zip(offset, piece.shape, strict=True))] = piece
    return whole


def _path(where: Path, key: Any, paths: Mapping[Any, Any]) -> tuple[Any, ...]:
    path = paths.get(key)
    if not isinstance(path, tuple) or not path or not all(type(part) in (str, int) for part in path):
        raise UsageError(f"{where} does not say where {str(key)[:60]!r} belongs: damaged")
    return path


def _put(root: dict[Any, Any], path: tuple[Any, ...], value: Any) -> None:
    for part in path[:-1]:
        root = root.setdefault(part, {})
        if not isinstance(root, dict):
            raise UsageError(f"a DCP directory describes {path} both as a value and as a table: damaged")
    root[path[-1]] = value


def _lists(value: Any) -> Any:
    """The table of parameter groups as the list it was; states are numbered too, and stay tables."""
    if not isinstance(value, dict):
        return value
    record = {key: _lists(part) for key, part in value.items()}
    groups = record.get("param_groups")
    if isinstance(groups, dict) and set(groups) == set(range(len(groups))):
        record["param_groups"] = [groups[number] for number in range(len(groups))]
    return record
