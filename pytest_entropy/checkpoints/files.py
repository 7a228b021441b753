"""The files a checkpoint consists of: described, fingerprinted and read as JSON, with nothing loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.errors import UsageError

# Whole files up to this size go into the digest; of larger ones the ends and the size.
_WHOLE_FILE = 256 * 2**20
_END = 8 * 2**20
# An index of ten thousand tensors takes one megabyte.
_LARGEST_JSON = 32 * 2**20
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
NAME_FILES = ("optimizer_param_names.json", "param_names.json")


@dataclass(frozen=True)
class CheckpointFiles:
    """Where the parts of a checkpoint are.

    ``weights`` holds an adapter (``is_adapter``) or a whole model; ``base`` is the base model's directory or
    hub id, None for a full fine-tune; ``names`` is a side file with the optimizer's parameter names, if any.
    """

    layout: str
    root: Path
    weights: Path
    is_adapter: bool
    optimizer: Path
    base: str | None
    names: Path | None = None

    def digest(self) -> str:
        """SHA-256 over names and contents of what a result depends on, as 16 hex digits."""
        total = hashlib.sha256()
        parts = [self.weights] + ([Path(self.base)] if self.base and Path(self.base).is_dir() else [])
        # A directory by torch.distributed.checkpoint counts with all its files.
        state = sorted(self.optimizer.iterdir()) if self.optimizer.is_dir() else [self.optimizer]
        files = [file for file in state if file.is_file()] + ([self.names] if self.names else [])
        for part in parts:
            kinds = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt")
            found = sorted(f for kind in kinds for f in part.glob(kind) if f.name != "trainer_state.json")
            files += [file for file in found if file.is_file()]
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
    """Whether a whole model's safetensors are there."""
    return any((directory / name).is_file() for name in _WEIGHTS) and (directory / "config.json").is_file()


def has_adapter(directory: Path) -> bool:
    """Whether a PEFT adapter is there."""
    return (directory / "adapter_config.json").is_file()


def require_optimizer(root: Path, weights: Path, candidates: list[Path]) -> Path:
    """The optimizer file, or a message that says why there must be one."""
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
    """A JSON object from a file of the checkpoint.

    Raises:
        UsageError: unreadable, not JSON, or not an object.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST_JSON:
            raise UsageError(f"checkpoint file {path} has {size} bytes; JSON over {_LARGEST_JSON} is not read")
        # Strictly, as libraries will: without a byte order mark.
        record = json.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"checkpoint file {path} cannot be read as JSON: {str(error)[:200]}") from error
    if not isinstance(record, dict):
        raise UsageError(f"checkpoint file {path} holds {type(record).__name__}, expected an object")
    return record
