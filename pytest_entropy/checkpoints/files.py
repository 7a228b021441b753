"""The files of a checkpoint: their paths, their digest and their JSON, read without loading a model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError

# Files up to this size are hashed whole; of a larger file its size and its first and last bytes are.
_WHOLE_FILE = 256 * 2**20
_END = 8 * 2**20
# An index of ten thousand tensors takes one megabyte.
_LARGEST_JSON = 32 * 2**20
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
NAME_FILES = ("optimizer_param_names.json", "param_names.json")


@dataclass(frozen=True)
class CheckpointFiles:
    """Paths of a checkpoint's weights, base model and optimizer state.

    Attributes:
        layout: name of the checkpoint's layout.
        root: the checkpoint's directory.
        weights: directory of the adapter (``is_adapter``) or of the whole model.
        optimizer: the optimizer's file, or its directory by torch.distributed.checkpoint.
        base: directory or hub id of the adapter's base model; None for a full fine-tune.
        names: side file with the optimizer's parameter names, if there is one.
        base_source: where the path of the base model starts, or what named it, in words.
        renamed: which tensors are read under other names than the files have, in words; empty where none are.
    """

    layout: str
    root: Path
    weights: Path
    is_adapter: bool
    optimizer: Path
    base: str | None
    names: Path | None = None
    base_source: str = ""
    renamed: str = ""

    def digest(self) -> str:
        """SHA-256 over the names and contents of all files that a result depends on, as 16 hex digits."""
        total = hashlib.sha256()
        parts = [self.weights] + ([Path(self.base)] if self.base and Path(self.base).is_dir() else [])
        # All files of a directory by torch.distributed.checkpoint count.
        state = sorted(self.optimizer.iterdir()) if self.optimizer.is_dir() else [self.optimizer]
        files = [file for file in state if file.is_file()] + ([self.names] if self.names else [])
        for part in parts:
            kinds = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt")
            listed = sorted(f for kind in kinds for f in part.glob(kind) if f.name != "trainer_state.json")
            files += [file for file in listed if file.is_file()]
        for file in files:
            total.update(f"{file.parent.name}/{file.name}\0".encode())
            total.update(_fingerprint(file))
        if self.base and not Path(self.base).is_dir():
            total.update(self.base.encode())
        return total.hexdigest()[:16]


def _fingerprint(file: Path) -> bytes:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _WHOLE_FILE:
            return hashlib.file_digest(stream, "sha256").digest()
        digest = hashlib.sha256(str(size).encode() + stream.read(_END))
        stream.seek(-_END, 2)
        digest.update(stream.read())
        return digest.digest()


def has_weights(directory: Path) -> bool:
    """Whether a directory holds a whole model: ``config.json`` and safetensors."""
    return any((directory / name).is_file() for name in _WEIGHTS) and (directory / "config.json").is_file()


def has_adapter(directory: Path) -> bool:
    """Whether a directory holds the configuration of a PEFT adapter."""
    return (directory / "adapter_config.json").is_file()


def require_optimizer(root: Path, weights: Path, candidates: list[Path]) -> Path:
    """The first of the ``candidates`` that is a file: the checkpoint's optimizer state.

    Args:
        root, weights: directories of the checkpoint and of its weights, for the message.
        candidates: paths where the optimizer's file may be.

    Raises:
        UsageError: none of them is a file; the message says why a fresh optimizer would not do.
    """
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = " and ".join(str(c) for c in candidates)
    raise UsageError(
        f"checkpoint {root} has weights in {weights} but no optimizer state (looked for {looked}): the next AdamW "
        "step depends on it, and a fresh optimizer would give another answer. Save it with "
        "torch.save(optimizer.state_dict(), 'optimizer.pt') or save_only_model=False"
    )


def read_object(path: Path) -> dict[str, object]:
    """Read a JSON object from a file of the checkpoint.

    Raises:
        UsageError: the file is too large, cannot be read, is not JSON, or holds another value than an object.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_JSON:
            raise UsageError(f"checkpoint file {path} has {size} bytes; JSON over {_LARGEST_JSON} is not read")
        # A byte order mark is an error here, as it is for the libraries that read the file later.
        record = json.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"checkpoint file {path} cannot be read as JSON: {str(error)[:200]}") from error
    if not isinstance(record, dict):
        raise UsageError(f"checkpoint file {path} holds {type(record).__name__}, expected an object")
    return record


def object_or_empty(path: Path) -> dict[str, Any]:
    """The JSON object in a file that a checkpoint may lack; empty without it.

    Raises:
        UsageError: as :func:`read_object` of a file that is there.
    """
    return dict(read_object(path)) if path.is_file() else {}
