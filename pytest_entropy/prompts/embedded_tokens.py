"""Reject prompts with tokens that the model's embedding has no row for, before a forward pass fails on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_entropy.errors import RunError


def require_embedded(ids: Sequence[int], rows: int, token_of: Callable[[int], object], prompt: str) -> None:
    """Reject a prompt with a token id beyond the model's input embedding.

    Args:
        ids: the prompt's token ids.
        rows: number of rows of the embedding.
        token_of: the text of a token, by its id.
        prompt: what the message calls the prompt.

    Raises:
        RunError: names the token, its id and the number of rows.
    """
    largest = max(ids, default=-1)
    if largest >= rows:
        raise RunError(f"{prompt} {unembedded(str(token_of(largest)), largest, rows)}; {REMEDY}")


def unembedded(token: str, number: int, rows: int) -> str:
    """What is wrong with a prompt that holds a token beyond the embedding, in words.

    Args:
        token: its text.
        number: its id.
        rows: of the embedding.
    """
    return (
        f"holds the token {token[:60]!r} with id {number}, and the model's input embedding has {rows} rows (ids 0 to "
        f"{rows - 1}): tokens were added to the tokenizer, and the embedding was not resized"
    )


REMEDY = (
    "give the base model that was resized with model.resize_token_embeddings (--base-model DIR), save the tokenizer "
    "that the model was trained with beside it, or take the token out of the prompts or the chat template"
)
