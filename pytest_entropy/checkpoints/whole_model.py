"""The directory of a whole model, an adapter's base by its path or hub id, and what its ``config.json`` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, object_or_empty
from pytest_entropy.checkpoints.formats.weights_file import INDEX, WHOLE


def model_directory(files: CheckpointFiles) -> Path | None:
    """The directory of the whole model's weights, an adapter's base by its path or hub id; None if it is not cached."""
    base = files.base
    if base is None or Path(base).is_dir():
        return files.weights if base is None else Path(base)
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(base, name) for name in (WHOLE, INDEX))
    return next((Path(path).parent for path in cached if isinstance(path, str)), None)


def model_config(files: CheckpointFiles) -> dict[str, Any]:
    """The object in the whole model's ``config.json``; empty where the model is not on this machine, or has none.

    Args:
        files: the checkpoint's files.

    Raises:
        UsageError: the file holds no object, or is too large.
    """
    directory = model_directory(files)
    return {} if directory is None else object_or_empty(directory / "config.json")
