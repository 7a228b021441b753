"""Check before loading that prompts and responses fit the model's context, as far as the files say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, read_object
from pytest_entropy.checkpoints.model_size import model_directory
from pytest_entropy.checkpoints.text_settings import text_settings
from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import PromptSet, require_room
from pytest_entropy.prompts.messages import parts_of

# The context's length in config.json; GPT-2 and its kin have a name of their own.
_KEYS = ("max_position_embeddings", "n_positions")


def require_context(files: CheckpointFiles, prompts: PromptSet, max_new_tokens: int) -> None:
    """Reject a context that is too short for the longest prompt and response.

    Torch is not imported: tokens are counted by ``tokenizer.json``, and of a chat those of its last message only, which
    a template may surround with more.  What only the loaded tokenizer shows fails the runs.

    Args:
        files: paths of the checkpoint.
        prompts: the prompt set.
        max_new_tokens: longest response, in tokens.

    Raises:
        UsageError: no prompt fits, or some are too long; says how many, and shows the longest.
    """
    directory = model_directory(files)
    positions = None if directory is None else _positions(directory)
    places = (files.weights, *([] if directory is None else [directory]))
    tokenizer = next((place / "tokenizer.json" for place in places if (place / "tokenizer.json").is_file()), None)
    try:
        require_room(prompts, _counter(tokenizer), positions, max_new_tokens, template_tokens=0)
    except RunError as error:
        raise UsageError(f"checkpoint {files.root}: {error}") from None


def _positions(directory: Path) -> int | None:
    config = text_settings(read_object(directory / "config.json")) if (directory / "config.json").is_file() else {}
    return next((size for key in _KEYS if type(size := config.get(key)) is int), None)


def _counter(tokenizer: Path | None) -> Callable[..., Sequence[int]]:
    """Counts a prompt's tokens, never too many; without a readable tokenizer there are none."""
    loaded: Any = None

    def encode(content: str | Sequence[Mapping[str, Any]], arguments: object = None) -> Sequence[int]:
        nonlocal loaded
        text = content if isinstance(content, str) else "".join(parts_of(content[-1])).strip()
        loaded = loaded or _read(tokenizer)
        ids: list[int] = loaded.encode(text, add_special_tokens=False).ids if loaded else []
        return ids

    return encode


def _read(file: Path | None) -> Any:
    """The tokenizer in a file; None where there is none, or it cannot be read: loading it reports that."""
    if file is None:
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises plain exceptions for what it cannot read.
    except Exception:
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
