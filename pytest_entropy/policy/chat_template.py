"""Chat messages to token ids by the checkpoint's chat template, under a time limit: it is an untrusted program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pytest_entropy.errors import RunError
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

# Time limit for one prompt, in s; ordinary templates take milliseconds.
SECONDS = 30.0


def encode_chat(
    tokenizer: Any,
    messages: Sequence[Mapping[str, str]],
    arguments: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
) -> list[int]:
    """The token ids of a conversation, the header of the assistant's turn included.

    transformers renders in jinja2's sandbox, which prevents arbitrary code but not nested loops.

    Args:
        tokenizer: the checkpoint's, a transformers tokenizer.
        messages: the conversation, each message with ``role`` and ``content``.
        arguments: further variables of the template by name, such as ``enable_thinking``.
        seconds: the time limit.

    Raises:
        RunError: the tokenizer has no chat template, or the template fails or exceeds the time limit.
    """
    if not tokenizer.chat_template:
        raise RunError(
            "prompts are chat messages, and the checkpoint's tokenizer has no chat template (a base model?); give "
            "prompts as text, or save the template the model was trained with in its chat_template.jinja"
        )
    render = partial(
        tokenizer.apply_chat_template,
        list(messages),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
        **(arguments or {}),
    )
    try:
        return list(call_within(seconds, render))
    except TimeLimitExceeded:
        problem = f"did not come to an end within {seconds:g} s"
    except Exception as error:
        problem = f"fails ({type(error).__name__}: {str(error)[:300]})"
    raise RunError(
        f"the chat template of the checkpoint's tokenizer {problem}, on the prompt {str(list(messages))[:200]}; look "
        "into chat_template.jinja (or tokenizer_config.json) beside the tokenizer, or give prompts as text"
    )
