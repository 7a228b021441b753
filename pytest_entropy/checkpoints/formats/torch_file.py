"""Reading a ``torch.save`` file that may be a stranger's: no code runs, and no more is unpacked than was packed."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from typing import Any

import torch

from pytest_entropy.checkpoints.formats.torch_archive import asks_for, require_honest, screen_archive
from pytest_entropy.errors import UsageError


def read_torch_file(path: Path, *, tensors: int) -> Any:
    """The object in a file by ``torch.save``, with ``weights_only=True``; tensors stay on disk until used.

    Args:
        path: the file.
        tensors: how many tensors a file for this model may describe; bounds the part that is parsed.

    Raises:
        UsageError: not such a file, damaged, compressed or larger unpacked than packed, or holding code.
    """
    screen_archive(path, tensors=tensors)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise UsageError(_refusal(path, error)) from error


def read_torch_bytes(data: bytes, where: str) -> Any:
    """The same for one object that lies inside a larger file; ``where`` is what messages call it."""
    require_honest(where, len(data), io.BytesIO(data), tensors=1)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(_refusal(where, error)) from error


def _refusal(path: Path | str, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).replace("\n", " ")
    if "torchao" in reason:
        return torchao_refusal(path)
    # torch goes on to suggest opening it with its safeguard off: of its words only the facts are kept.
    wanted = re.search(r"(?:GLOBAL|Unsupported class|Unsupported global:?) ([\w.]+)", reason)
    if wanted:
        return asks_for(path, wanted[1])
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
