"""Read ``torch.save`` files from untrusted sources: no code runs, and no more bytes are unpacked than a file holds."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import torch

from pytest_entropy.checkpoints.formats.torch_archive import (
    code_refusal,
    require_safe_archive,
    screen_archive,
    torchao_refusal,
)
from pytest_entropy.errors import UsageError


def read_torch_file(path: Path, *, tensors: int) -> Any:
    """The object in a ``torch.save`` file, read with ``weights_only=True``; its tensors stay on disk until used.

    Args:
        path: the file.
        tensors: number of tensors that a file for this model may describe at most; bounds the bytes parsed.

    Raises:
        UsageError: ``torch.save`` did not write the file, it is damaged, compressed or declares more bytes than it
            holds, or its pickle references importable code.
    """
    screen_archive(path, tensors=tensors)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise UsageError(_refusal(path, error)) from error


def read_torch_bytes(data: bytes, where: str) -> Any:
    """The ``torch.save`` object in the given bytes, read as by :func:`read_torch_file`; one tensor at most.

    Args:
        data: the bytes that ``torch.save`` wrote.
        where: what messages call them.

    Raises:
        UsageError: as by :func:`read_torch_file`.
    """
    require_safe_archive(where, len(data), io.BytesIO(data), tensors=1)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(_refusal(where, error)) from error


def _refusal(path: Path | str, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).replace("\n", " ")
    if "torchao" in reason:
        return torchao_refusal(path)
    # torch's message goes on to suggest weights_only=False: only its facts are kept.
    wanted = re.search(r"(?:GLOBAL|Unsupported class|Unsupported global:?) ([\w.]+)", reason)
    if wanted:
        return code_refusal(path, wanted[1])
    return f"{path} is damaged, or holds more than tensors and plain values: {reason.split(' Re-running ')[0][:160]}"
