"""Reject an untrusted checkpoint whose files show, without being loaded, that it cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_entropy.checkpoints.files import CheckpointFiles, read_object
from pytest_entropy.checkpoints.formats.dcp_metadata import read_description
from pytest_entropy.checkpoints.formats.torch_archive import read_outline, screen_archive
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.preflight.adapter_files import require_same_sizes, screen_adapter
from pytest_entropy.checkpoints.preflight.base_size import require_base_size
from pytest_entropy.checkpoints.preflight.model_files import screen_model
from pytest_entropy.checkpoints.preflight.trainers_optimizer import require_trainers_adamw
from pytest_entropy.checkpoints.states.optimizer_kind import outline, require_adamw
from pytest_entropy.checkpoints.states.state_record import require_state_dict
from pytest_entropy.checkpoints.stored_prefixes import found_renamings
from pytest_entropy.errors import UsageError

# A vocabulary of a quarter of a million words takes some thirty megabytes.
_LARGEST_TOKENIZER = 256 * 2**20
_MAX_TENSORS = 100_000


def screen(files: CheckpointFiles) -> None:
    """Reject a checkpoint whose files show, without being loaded, that it cannot be used; torch is not imported.

    Raises:
        UsageError: declarations do not fit the tensors, a file is damaged or truncated, or the optimizer's file was not
            written by torch, declares more bytes than it holds, references code, or is not AdamW's.
    """
    tensors = 0
    # Directories are screened; a base known by its hub id was downloaded into the cache by the user.
    whole = [Path(files.base)] if files.base is not None else [files.weights]
    for directory in (place for place in {*whole, files.weights} if place.is_dir()):
        _require_files(directory)
    for directory in (place for place in whole if place.is_dir()):
        screen_model(directory)
        _require_small_tokenizer(directory)
        tensors += sum(1 for _ in WeightsFile(directory))
    if files.is_adapter:
        screen_adapter(files.weights)
    found_renamings(files)
    if files.is_adapter:
        if whole[0].is_dir():
            require_same_sizes(files.weights, whole[0])
            require_base_size(files.weights, whole[0])
        tensors += sum(1 for _ in WeightsFile(files.weights))
        _require_small_tokenizer(files.weights)
    # Three tensors of state and as many of quantisation per parameter; a base in the cache is not counted.
    bound = 8 * tensors if whole[0].is_dir() else _MAX_TENSORS
    if files.optimizer.is_dir():
        description = read_description(files.optimizer, tensors=bound)
        require_adamw(files.optimizer, outline(item.path for item in description))
    else:
        screen_archive(files.optimizer, tensors=bound)
        record = read_outline(files.optimizer)
        # None where only torch can read the file, which then says what is wrong with it.
        if record is not None:
            require_adamw(files.optimizer, require_state_dict(files.optimizer, record))
    require_trainers_adamw(files)
    if files.names is not None:
        read_names(files.names)


def read_names(path: Path) -> list[str]:
    """The optimizer's parameter names in a side file: a list, or an object from index to name.

    Raises:
        UsageError: the file holds neither.
    """
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        record = read_object(path)
    if isinstance(record, dict):
        record = record.get("param_names", record)
    if isinstance(record, dict) and all(key.isdecimal() and len(key) < 20 for key in record):
        record = [record[key] for key in sorted(record, key=int)]
    if not isinstance(record, list) or not all(isinstance(name, str) for name in record):
        raise UsageError(f"{path}: expected a list of parameter names, or an object from index to name")
    return record


def _require_files(directory: Path) -> None:
    """Reject pipes and devices among a checkpoint's files: reading one could block for ever."""
    for entry in sorted(directory.iterdir()):
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise UsageError(f"{entry} is a pipe or a device, not a file")


def _require_small_tokenizer(directory: Path) -> None:
    for file in (*directory.glob("tokenizer*"), *directory.glob("vocab*"), *directory.glob("merges*")):
        if file.is_file() and file.stat().st_size > _LARGEST_TOKENIZER:
            raise UsageError(
                f"{file} has {file.stat().st_size} bytes; a tokenizer's file over {_LARGEST_TOKENIZER} is not read"
            )
