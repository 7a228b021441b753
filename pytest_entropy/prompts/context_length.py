"""Check that prompts and responses fit the model's context, before the first response is sampled."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from heapq import nlargest

from pytest_entropy.errors import RunError
from pytest_entropy.prompts.messages import text_of
from pytest_entropy.prompts.prompt import Prompt, PromptSet

# Tokens a chat template may add around the messages (default system prompt, role marks).
TEMPLATE_TOKENS = 512


def require_room(
    prompts: PromptSet,
    encode: Callable[..., Sequence[int]],
    positions: int | None,
    max_new_tokens: int,
    *,
    template_tokens: int = TEMPLATE_TOKENS,
    most: int | None = None,
) -> None:
    """Reject prompts that leave no room for a response of ``max_new_tokens`` within ``positions``.

    A text has no more tokens than UTF-8 bytes, so that only long prompts are encoded.  Sets that make their
    prompts on demand (not lists) are not searched.

    Args:
        prompts: the whole set.
        encode: token ids of a prompt's content and template arguments, as ``Policy.encode``.
        positions: number of tokens in the model's context, None where it is unbounded.
        max_new_tokens: longest response, in tokens.
        template_tokens: tokens that ``encode`` may add to those of the text.
        most: number of prompts that are encoded at most, the longest texts; None for no bound.

    Raises:
        RunError: prompts are too long; says how many, and shows the longest.
    """
    if positions is None:
        return
    available = positions - max_new_tokens
    if available < 1:
        raise RunError(
            f"the model's context of {positions} tokens has no room for a prompt beside a response of "
            f"{max_new_tokens} tokens (sampling.max_new_tokens); take a sampling.max_new_tokens below {positions}"
        )
    if not isinstance(prompts, list):
        return
    suspects = [prompt for prompt in prompts if _bytes(prompt) + template_tokens > available]
    if most is not None and len(suspects) > most:
        suspects = nlargest(most, suspects, key=_bytes)
    lengths = [(len(prompt.encoded(encode)), n) for n, prompt in enumerate(suspects)]
    too_long = sorted((pair for pair in lengths if pair[0] > available), reverse=True)
    if too_long:
        tokens, n = too_long[0]
        raise RunError(
            f"{len(too_long)} of {len(prompts)} prompts are too long: the model has {positions} positions, "
            f"max_new_tokens is {max_new_tokens}, which leaves {available} for the prompt, and the longest has "
            f"{tokens} tokens; remove them, or lower sampling.max_new_tokens. The longest begins "
            f"{_text(suspects[n])[:80]!r}"
        )


def _text(prompt: Prompt) -> str:
    """The prompt's text, or that of all its messages."""
    if isinstance(prompt.content, str):
        return prompt.content
    return "\n".join(map(text_of, prompt.content))


def _bytes(prompt: Prompt) -> int:
    """An upper bound for the prompt's number of tokens without the chat template's."""
    # Templates write tools and calls as JSON, some with white space for people.
    calls = [] if isinstance(prompt.content, str) else [message.get("tool_calls") for message in prompt.content]
    spaced = json.dumps([dict(prompt.template_arguments), calls], indent=4, default=str)
    return len(_text(prompt).encode()) + len(spaced)
