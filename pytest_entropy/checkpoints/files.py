"""A checkpoint directory as files: found, described and fingerprinted without loading anything."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError

# Whole files up to this size go into the digest; of larger ones the ends and the size.
_WHOLE_FILE = 256 * 2**20
_END = 8 * 2**20
# An index of ten thousand tensors takes one megabyte.
_LARGEST_JSON = 32 * 2**20
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_LONGEST_PART = 255
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


def find_checkpoint(path: str | Path, base_model: str | None = None) -> CheckpointFiles:
    """Recognise the checkpoint at ``path``; no model is loaded and torch is not imported.

    Raises:
        UsageError: nothing there, an unknown layout (says what was looked for and found), no optimizer state,
            or an adapter whose base model cannot be found.
    """
    from pytest_entropy.checkpoints.layouts import known_layouts

    path = Path(path).expanduser()
    layouts = known_layouts()
    if not path.is_dir():
        what = "is a file, not a directory" if path.is_file() else "does not exist"
        expected = "\n".join(f"  - {layout.name}: {layout.expects}" for layout in layouts)
        raise UsageError(f"checkpoint {path} {what}; expected a directory of one of these kinds:\n{expected}")
    for layout in layouts:
        found = layout.find(path)
        if found is not None:
            return _with_base(found, base_model)
    pickled = [name for name in ("pytorch_model.bin", "pytorch_model.bin.index.json") if (path / name).is_file()]
    if pickled:
        raise UsageError(
            f"checkpoint {path} has its weights in {pickled[0]}, a pickle, which is not opened; save it again with "
            "model.save_pretrained(DIR, safe_serialization=True)"
        )
    raise UsageError(describe_miss(path, [f"{layout.name}: {layout.expects}" for layout in layouts]))


def describe_miss(path: Path, expected: list[str]) -> str:
    """What was expected in a directory and what was found there."""
    listing = sorted(f.name + ("/" if f.is_dir() else "") for f in path.iterdir())
    found = ", ".join(listing[:12]) + (f" and {len(listing) - 12} more" if len(listing) > 12 else "")
    wanted = "\n".join(f"  - {line}" for line in expected)
    return (
        f"checkpoint {path} is not of a known kind; expected one of\n{wanted}\nfound: {found or 'an empty directory'}"
    )


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


def read_json(path: Path) -> dict[str, Any]:
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


def _with_base(files: CheckpointFiles, override: str | None) -> CheckpointFiles:
    from dataclasses import replace

    if not files.is_adapter:
        if override is not None:
            raise UsageError(f"--base-model {override}: checkpoint {files.root} is a whole model, not an adapter")
        return files
    if not (files.weights / "adapter_model.safetensors").is_file():
        raise UsageError(
            f"{files.weights} has adapter_config.json but no adapter_model.safetensors (pickled adapter_model.bin "
            "files are not opened; convert it with safe_serialization=True)"
        )
    config = read_json(files.weights / "adapter_config.json")
    named = override or config.get("base_model_name_or_path")
    if not named or not isinstance(named, str):
        raise UsageError(
            f"adapter {files.weights} names no base model (base_model_name_or_path is {named!r}); "
            "say where it is with --base-model DIR"
        )
    return replace(files, base=_locate_base(named, files, explicit=override is not None))


def _locate_base(named: str, files: CheckpointFiles, *, explicit: bool) -> str:
    """Relative to the working directory if explicit; else relative to the adapter, then to where we are."""
    if "\0" in named or any(len(part) > _LONGEST_PART for part in Path(named).parts):
        raise UsageError(f"base model {named[:60]!r} of adapter {files.weights} is no name of a directory or model")
    places = [Path(named).expanduser() if explicit else Path(named)]
    if not explicit and not Path(named).is_absolute():
        run = files.root.resolve().parent
        inside = (files.weights / named).resolve()
        # A stranger's adapter may point at its own run's folder, not climb through the file system, be it by a link.
        if inside.is_relative_to(run):
            places.insert(0, inside)
        elif ".." in Path(named).parts or os.path.exists(inside):
            raise UsageError(
                f"adapter {files.weights} names its base model as {named!r}, which leads out of {run} to {inside}; "
                "if you trust it, give it as --base-model"
            )
    # Unlike Path.is_dir, false for names the system cannot hold.
    tried = [place for place in places if os.path.isdir(place)]
    for place in tried:
        if has_adapter(place):
            raise UsageError(
                f"base model {named!r} of adapter {files.weights}: {place} is an adapter itself, and transformers "
                "would load its base in turn; merge it first, or give --base-model DIR"
            )
        if has_weights(place):
            return str(place)
    if tried:
        raise UsageError(
            f"base model {named!r} of adapter {files.weights}: {tried[0]} has no config.json with "
            "model.safetensors; give another with --base-model DIR"
        )
    if not explicit and _looks_like_hub_id(named) and _in_hub_cache(named):
        return named
    raise UsageError(
        f"base model {named!r} of adapter {files.weights} was not found (looked at "
        f"{', '.join(str(p) for p in places)} and the local hub cache); give it with --base-model DIR"
    )


def _looks_like_hub_id(name: str) -> bool:
    parts = name.split("/")
    return 1 <= len(parts) <= 2 and all(p and p not in (".", "..") for p in parts)


def _in_hub_cache(name: str) -> bool:
    """Whether the model was downloaded before; nothing is fetched here."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False
