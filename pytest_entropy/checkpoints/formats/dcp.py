"""Reading a directory by torch.distributed.checkpoint (DCP) without unpickling what it holds.

Its ``.metadata`` says which bytes of which file are which part of which tensor (:mod:`.dcp_metadata` reads that).  The
parts themselves are read as every torch file is here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.formats.dcp_metadata import Part, read_description
from pytest_entropy.checkpoints.formats.torch_file import read_torch_bytes
from pytest_entropy.errors import UsageError
from pytest_entropy.optimizers.states.base import plain_tensor


def read_dcp(directory: Path, *, tensors: int) -> Any:
    """The nested dictionaries a DCP directory was made of, its tensors whole.

    Args:
        directory: with ``.metadata`` and ``*.distcp``.
        tensors: how many tensors a directory for this model may describe; bounds what is parsed.

    Raises:
        UsageError: damaged, incomplete, asking for code, or describing more than it holds.
    """
    root: dict[Any, Any] = {}
    for item in read_description(directory, tensors=tensors):
        where = f"{directory}, {item.key[:80]}"
        parts = [(part.offset, _read(directory, part, where)) for part in item.parts]
        _put(root, item.path, parts[0][1] if item.size is None else _whole(where, item.size, parts))
    return _lists(root)


def _read(directory: Path, part: Part, where: str) -> Any:
    """The object in one stretch of one file."""
    with (directory / part.file).open("rb") as stream:
        stream.seek(part.start)
        return read_torch_bytes(stream.read(part.length), f"{where} in {part.file}")


def _whole(where: str, size: tuple[int, ...], parts: list[tuple[tuple[int, ...], Any]]) -> Any:
    """A tensor put together from its parts."""
    pieces = [(offset, plain_tensor(part)) for offset, part in parts]
    fits = all(
        piece is not None
        and len(offset) == piece.dim() == len(size)
        and all(o + n <= s for o, n, s in zip(offset, piece.shape, size, strict=True))
        for offset, piece in pieces
    )
    found = sum(piece.numel() for _, piece in pieces if piece is not None)
    if not fits or found != math.prod(size):
        raise UsageError(
            f"{where} has {found} of the {math.prod(size)} elements of {size} in {len(parts)} parts: incomplete or "
            "damaged"
        )
    tensors = [(offset, piece) for offset, piece in pieces if piece is not None]
    # Overlapping parts leave a hole elsewhere, which shows as not finite.
    whole = tensors[0][1].new_full(size, math.nan if tensors[0][1].is_floating_point() else 0)
    for offset, piece in tensors:
        whole[tuple(slice(o, o + n) for o, n in zip(offset, piece.shape, strict=True))] = piece
    return whole


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
