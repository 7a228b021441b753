"""Read a directory by torch.distributed.checkpoint (DCP) without unpickling its files.

Its ``.metadata`` maps byte ranges of its files to parts of tensors (:mod:`.dcp_metadata` reads that); the parts are
``torch.save`` objects, which :mod:`.torch_file` reads.
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
    """The nested dictionaries that a DCP directory was saved from, with every tensor assembled from its parts.

    Args:
        directory: with ``.metadata`` and ``*.distcp``.
        tensors: number of tensors that a directory for this model may describe at most; bounds the bytes parsed.

    Raises:
        UsageError: the directory is damaged or incomplete, one of its pickles references importable code, or it
            describes more bytes than it holds.
    """
    root: dict[Any, Any] = {}
    for item in read_description(directory, tensors=tensors):
        where = f"{directory}, {item.key[:80]}"
        parts = [(part.offset, _read(directory, part, where)) for part in item.parts]
        _put(root, item.path, parts[0][1] if item.size is None else _whole(where, item.size, parts))
    return _lists(root)


def _read(directory: Path, part: Part, where: str) -> Any:
    """The object in one byte range of one file."""
    with (directory / part.file).open("rb") as stream:
        stream.seek(part.start)
        return read_torch_bytes(stream.read(part.length), f"{where} in {part.file}")


def _whole(where: str, size: tuple[int, ...], parts: list[tuple[tuple[int, ...], Any]]) -> Any:
    """A tensor of shape ``size``, assembled from its parts and their offsets."""
    pieces = [(offset, plain_tensor(part)) for offset, part in parts]
    fits = all(
        piece is not None
        and len(offset) == piece.dim() == len(size)
        and all(o + n <= s for o, n, s in zip(offset, piece.shape, size, strict=True))
        for offset, piece in pieces
    )
    stored = sum(piece.numel() for _, piece in pieces if piece is not None)
    if not fits or stored != math.prod(size):
        raise UsageError(
            f"{where} has {stored} of the {math.prod(size)} elements of {size} in {len(parts)} parts: incomplete or "
            "damaged"
        )
    tensors = [(offset, piece) for offset, piece in pieces if piece is not None]
    # Where parts overlap, elements elsewhere stay NaN, which later checks of the moments reject.
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
    """The dictionary of parameter groups as the list it was; states are numbered too, and stay dictionaries."""
    if not isinstance(value, dict):
        return value
    record = {key: _lists(part) for key, part in value.items()}
    groups = record.get("param_groups")
    if isinstance(groups, dict) and set(groups) == set(range(len(groups))):
        record["param_groups"] = [groups[number] for number in range(len(groups))]
    return record
