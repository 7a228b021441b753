"""Check before loading that the model's input embedding has a row for every token of the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, object_or_empty
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer
from pytest_entropy.checkpoints.preflight.rendered_prompts import text_to_encode
from pytest_entropy.checkpoints.text_settings import text_settings
from pytest_entropy.checkpoints.whole_model import model_config, model_directory
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import PromptSet
from pytest_entropy.prompts.embedded_tokens import unembedded
from pytest_entropy.prompts.sampled_rows import sampled_rows

# Names of the input embedding, which composite models have behind a prefix.
_NAMES = (
    "embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight",
    "embeddings.weight", "embedding.weight",
)  # fmt: skip
# Parts of composite models that embed no text.
_OTHERS = ("vision", "visual", "audio", "speech", "position", "decoder_head")
# Seconds for all prompts together; the run refuses what is left.
_SECONDS = 30.0


def require_embedded_prompts(prompts: PromptSet, files: CheckpointFiles, tokenizer: PlannedTokenizer) -> None:
    """Reject prompts with a token that the embedding has no row for, and an adapter trained with more rows.

    More tokens than rows are common and harmless as long as no prompt uses them.

    Args:
        prompts: at least one.
        files: paths of the checkpoint.
        tokenizer: the checkpoint's.

    Raises:
        UsageError: names the row, the token, its id and both sizes.
    """
    rows = embedding_rows(files)
    if rows is None:
        return
    if files.is_adapter:
        _require_rows_of_adapter(files, rows)
    if tokenizer.highest < rows:
        return
    end = monotonic() + _SECONDS
    for row, prompt in sampled_rows(prompts):
        text = text_to_encode(tokenizer, prompt, f"row {row + 1} of the prompts")
        token = tokenizer.beyond(rows, text, special=isinstance(prompt.content, str)) if text else None
        if token is not None:
            raise UsageError(
                f"row {row + 1} of the prompts {unembedded(token.text, token.number, rows)}; the tokenizer is in "
                f"{tokenizer.place}. {_remedy(files, tokenizer.highest + 1)}"
            )
        if monotonic() > end:
            return


def embedding_rows(files: CheckpointFiles) -> int | None:
    """The number of rows of the model's input embedding; None where no file says.

    Args:
        files: paths of the checkpoint.
    """
    directory = model_directory(files)
    if directory is None:
        return None
    shapes = WeightsFile(directory).shapes()
    sizes = [shape[0] for key, shape in shapes.items() if len(shape) == 2 and _is_embedding(key)]
    if sizes:
        # Of several, the largest: nothing is refused that might run.
        return max(sizes)
    size = text_settings(model_config(files)).get("vocab_size")
    return size if type(size) is int else None


def _is_embedding(key: str) -> bool:
    named = any(key == name or key.endswith(f".{name}") for name in _NAMES)
    return named and not any(part in key for part in _OTHERS)


def _require_rows_of_adapter(files: CheckpointFiles, rows: int) -> None:
    """Reject an adapter of the embedding itself that was trained with more rows than the base has."""
    for what, needed in _rows_of_adapter(files.weights):
        if needed > rows:
            raise UsageError(
                f"adapter {files.weights} {what} {needed}, and the input embedding of its base model {files.base} has "
                f"{rows} rows: the base was resized before training. {_remedy(files, needed)}"
            )


def _rows_of_adapter(adapter: Path) -> Iterator[tuple[str, int]]:
    for key, shape in WeightsFile(adapter).shapes().items():
        if key.endswith("lora_embedding_A") and len(shape) == 2 and _is_embedding(_adapted(key)):
            yield "adapts an embedding of as many rows as", shape[1]
        elif len(shape) == 2 and _is_embedding(key):
            yield "holds an embedding of as many rows as", shape[0]
    config = object_or_empty(adapter / "adapter_config.json")
    indices = [index for index in _numbers(config.get("trainable_token_indices")) if type(index) is int]
    if indices:
        yield "trains single tokens (trainable_token_indices) of a vocabulary of at least", max(indices) + 1


def _adapted(key: str) -> str:
    return key.removesuffix("lora_embedding_A") + "weight"


def _numbers(value: Any) -> list[Any]:
    """Token indices, for all embeddings (a list) or by the name of each."""
    if isinstance(value, Mapping):
        return [index for some in value.values() for index in _numbers(some)]
    return value if isinstance(value, list) else []


def _remedy(files: CheckpointFiles, size: int) -> str:
    if not files.is_adapter:
        return (
            "Save the tokenizer that the model was trained with beside the weights, or take the token out of the "
            "prompts or the chat template"
        )
    return (
        f"Resize the base as it was for training, model.resize_token_embeddings({size}); model.save_pretrained(DIR), "
        "and give --base-model DIR, or take the token out of the prompts or the chat template"
    )
