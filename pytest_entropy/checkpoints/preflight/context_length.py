"""Check before loading that prompts and responses fit the model's context, as far as the files say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer
from pytest_entropy.checkpoints.preflight.rendered_prompts import text_to_encode
from pytest_entropy.checkpoints.text_settings import text_settings
from pytest_entropy.checkpoints.whole_model import model_config
from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import Prompt, PromptSet, require_room
from pytest_entropy.prompts.context_length import TEMPLATE_TOKENS
from pytest_entropy.prompts.messages import Message, parts_of
from pytest_entropy.prompts.sampled_rows import READ_WHEN_PLANNING

# The context's length in config.json; GPT-2 and its kin have a name of their own.
_KEYS = ("max_position_embeddings", "n_positions")
# For the tokens of all prompts.
_SECONDS = 30.0


def require_context(
    files: CheckpointFiles, prompts: PromptSet, max_new_tokens: int, tokenizer: PlannedTokenizer | None
) -> None:
    """Reject a context that is too short for the longest prompt and response.

    Torch is not imported: tokens are counted by ``tokenizer.json``, and a chat is rendered by its template; without
    one, its last message is counted.  Of many prompts that may be too long the longest are counted.  What only the
    loaded tokenizer shows fails the runs.

    Args:
        files: paths of the checkpoint.
        prompts: the prompt set.
        max_new_tokens: longest response, in tokens.
        tokenizer: the checkpoint's; None where it is not known.

    Raises:
        UsageError: no prompt fits, or some are too long; says how many, and shows the longest.
    """
    positions = _positions(text_settings(model_config(files)))
    # A template adds tokens to those of the messages.
    added = 0 if isinstance(prompts[0].content, str) else TEMPLATE_TOKENS
    try:
        require_room(
            prompts, _counter(tokenizer), positions, max_new_tokens, template_tokens=added, most=READ_WHEN_PLANNING
        )
    except RunError as error:
        raise UsageError(f"checkpoint {files.root}: {error}") from None


def _positions(config: Mapping[str, Any]) -> int | None:
    return next((size for key in _KEYS if type(size := config.get(key)) is int), None)


def _counter(tokenizer: PlannedTokenizer | None) -> Callable[..., Sequence[int]]:
    """Counts a prompt's tokens, never too many; without a tokenizer, or when its time is up, there are none."""
    end = monotonic() + _SECONDS

    def encode(content: str | list[Message], arguments: Mapping[str, Any] | None = None) -> Sequence[int]:
        if tokenizer is None or monotonic() > end:
            return []
        text = text_to_encode(tokenizer, Prompt(content, template_arguments=arguments or {}), "one of the prompts")
        if text is None:
            text = "".join(parts_of(content[-1])).strip() if isinstance(content, list) else content
        return tokenizer.encode(text)

    return encode
