"""Reading a ``torch.save`` file that may be a stranger's: no code runs, and no more is unpacked than was packed."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from pathlib import Path
from typing import Any

import torch

from pytest_entropy.errors import UsageError

# What torch writes per tensor into data.pkl is some hundred bytes; the rest is room for names and settings.
_PICKLE_PER_TENSOR = 4096
_PICKLE_BASE = 2**20


def read_torch_file(path: Path, *, tensors: int) -> Any:
    """The object in a file by ``torch.save``, with ``weights_only=True``; tensors stay on disk until used.

    Args:
        path: the file.
        tensors: how many tensors a file for this model may describe; bounds the part that is parsed.

    Raises:
        UsageError: not such a file, damaged, compressed or larger unpacked than packed, or holding code.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    _require_honest_size(path, size, path, tensors)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise UsageError(_refusal(path, error)) from error


def read_torch_bytes(data: bytes, where: str) -> Any:
    """The same for one object that lies inside a larger file; ``where`` is what messages call it."""
    _require_honest_size(where, len(data), io.BytesIO(data), 1)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(_refusal(where, error)) from error


def plain_tensor(value: Any) -> torch.Tensor | None:
    """The value if it is an ordinary dense tensor in memory, else None."""
    ordinary = type(value) is torch.Tensor and value.layout == torch.strided and value.device.type == "cpu"
    return value if ordinary else None


def _require_honest_size(path: Path | str, size: int, file: Path | io.BytesIO, tensors: int) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UsageError(
            f"{path} is not a file by torch.save, or it is truncated or damaged ({error}); files of torch 1.5 and "
            "older are to be saved again by a newer torch"
        ) from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UsageError(f"{path} holds compressed entries, which torch.save never writes: not unpacked")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > size:
        raise UsageError(f"{path} has {size} bytes and declares {unpacked} unpacked: not unpacked")
    parsed = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    limit = _PICKLE_BASE + _PICKLE_PER_TENSOR * tensors
    if parsed > limit:
        raise UsageError(
            f"{path} describes its tensors in {parsed} bytes, more than the {limit} this model's could take: it is "
            "of another model, or not an optimizer's state"
        )


def _refusal(path: Path | str, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).replace("\n", " ")
    if "torchao" in reason:
        return torchao_refusal(path)
    # torch goes on to suggest opening it with its safeguard off: of its words only the facts are kept.
    wanted = re.search(r"(?:GLOBAL|Unsupported class|Unsupported global:?) ([\w.]+)", reason)
    if wanted:
        return f"{path} cannot be read without running code from it: it asks for {wanted[1]}; not opened"
    return f"{path} is damaged, or no plain tensors and numbers: {reason.split(' Re-running ')[0][:160]}"


def torchao_refusal(path: Path | str) -> str:
    """Why torchao's quantised state is not read, and the command that turns it into torch's own."""
    script = (
        "import sys, torch, torchao.optim; from torch.utils._python_dispatch import is_traceable_wrapper_subclass; "
        "path = sys.argv[1]; record = torch.load(path, map_location='cpu'); "
        "record['state'] = {i: {k: v.dequantize() if is_traceable_wrapper_subclass(v) else v for k, v in e.items()} "
        "for i, e in record['state'].items()}; torch.save(record, path)"
    )
    return (
        f"{path} holds torchao's quantised state, which only torchao can read; convert it once, in place, with\n"
        f"  python -c {shlex.quote(script)} {shlex.quote(str(path))}"
    )
