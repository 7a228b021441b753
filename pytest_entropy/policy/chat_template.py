"""Chat messages to token ids by the checkpoint's chat template: a stranger's program, so bounded in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pytest_entropy.errors import RunError
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

# s for one prompt; real templates take milliseconds.
SECONDS = 30.0


def encode_chat(
    tokenizer: Any,
    messages: Sequence[Mapping[str, str]],
    arguments: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
) -> list[int]:
    """Token ids of messages up to where the assistant begins to answer; ``arguments`` are told to the template, too.

    transformers renders in jinja2's sandbox, which runs no code of its own but does not stop a loop in a loop.

    Raises:
        RunError: no chat template; one that fails or has no end.
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
