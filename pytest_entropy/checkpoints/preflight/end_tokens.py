"""Check before loading that the checkpoint's files name an end-of-sequence token within its vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, object_or_empty
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer
from pytest_entropy.checkpoints.whole_model import model_config, model_directory
from pytest_entropy.errors import UsageError


def require_end_token(files: CheckpointFiles, tokenizer: PlannedTokenizer) -> None:
    """Reject a checkpoint of which no response would end by itself.

    Where a file leaves the key out, its class may have a default: then loading decides.

    Args:
        files: paths of the checkpoint.
        tokenizer: the checkpoint's.

    Raises:
        UsageError: no end token is named, or none that the vocabulary has.
    """
    directory, config = model_directory(files), model_config(files)
    vocabulary, own = config.get("vocab_size"), tokenizer.end_token()
    if directory is None or type(vocabulary) is not int or "eos_token_id" not in config or own is None:
        return
    of_generation = object_or_empty(directory / "generation_config.json")
    named = [config["eos_token_id"], own, of_generation.get("eos_token_id")]
    ids = sorted({number for value in named for number in _ids(value)})
    if any(0 <= number < vocabulary for number in ids):
        return
    outside = f" among its {vocabulary} (only {ids[:3]})" if ids else ""
    raise UsageError(
        f"checkpoint {files.root} names no end-of-sequence token{outside}, so that no response would end by itself; "
        f"set eos_token in {tokenizer.place / 'tokenizer_config.json'}, or eos_token_id in {directory / 'config.json'}"
    )


def _ids(value: Any) -> Iterator[int]:
    for number in value if isinstance(value, list) else [value]:
        if type(number) is int:
            yield number
