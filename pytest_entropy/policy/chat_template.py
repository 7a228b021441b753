"""Chat messages to token ids by the checkpoint's chat template, under a time limit: it is an untrusted program."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import unescape
from itertools import count
from typing import Any

from pytest_entropy.errors import RunError
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

# Time limit for one prompt, in s; ordinary templates take milliseconds.
SECONDS = 30.0
# Of the numbers that stand for parts while a template is tried: no conversation holds them.
_FIRST_MARK = 471108150001


class PartsNotTaken(ValueError):
    """The template takes texts only, and a message has several text parts, which libraries join in different ways."""


def encode_chat(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    arguments: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
) -> list[int]:
    """The token ids of a conversation, the header of the assistant's turn included.

    transformers renders in jinja2's sandbox, which prevents arbitrary code but not nested loops.

    Args:
        tokenizer: the checkpoint's, a transformers tokenizer.
        messages: the conversation, each message with ``role`` and ``content``.
        arguments: further arguments by name: ``tools``, and variables of the template such as ``enable_thinking``.
        seconds: the time limit.

    Raises:
        RunError: the tokenizer has no chat template, or the template fails, cannot take a message's parts or exceeds
            the time limit.
    """
    if not tokenizer.chat_template:
        raise RunError(
            "prompts are chat messages, and the checkpoint's tokenizer has no chat template (a base model?); give "
            "prompts as text, or save the template the model was trained with in its chat_template.jinja"
        )
    apply = partial(tokenizer.apply_chat_template, add_generation_prompt=True, **(arguments or {}))

    def encoded() -> list[int]:
        taken = as_taken(partial(apply, tokenize=False), messages)
        return list(apply(taken, tokenize=True, return_dict=False))

    try:
        return call_within(seconds, encoded)
    except TimeLimitExceeded:
        problem = f"did not come to an end within {seconds:g} s"
    except PartsNotTaken as error:
        problem = str(error)
    except Exception as error:
        problem = f"fails ({type(error).__name__}: {str(error)[:300]})"
    raise RunError(
        f"the chat template of the checkpoint's tokenizer {problem}, on the prompt {str(list(messages))[:200]}; look "
        "into chat_template.jinja (or tokenizer_config.json) beside the tokenizer, or give prompts as text"
    )


def as_taken(
    render: Callable[[list[Mapping[str, Any]]], str], messages: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The messages in the form that a template takes: as they are, or with one text instead of a list of one text part.

    A template of text models would write a list as code (``[{'type': 'text', …``), fail on it, or leave it out.

    Args:
        render: the template's text of messages.
        messages: the conversation; a content may be a list of text parts.

    Raises:
        PartsNotTaken: the template takes texts only, and a message has several text parts.
    """
    given = list(messages)
    if not any(isinstance(message.get("content"), list) for message in given):
        return given
    # Whether a template takes parts does not depend on what they say; their words may stand elsewhere in the text.
    marked = _marked(given)
    as_texts, with_parts = _text(render, [_with_text(message) for message in marked]), _text(render, marked)
    if as_texts is None or (with_parts is not None and _takes_parts(with_parts, as_texts, marked)):
        return given
    longest = max(len(message["content"]) for message in given if isinstance(message.get("content"), list))
    if longest > 1:
        raise PartsNotTaken(
            f"takes texts only, and a message has {longest} text parts, which trainers join in different ways (join "
            "them in the data as yours did)"
        )
    return [_with_text(message) for message in given]


def _marked(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages with another number instead of the text of each part."""
    numbers = count(_FIRST_MARK)
    return [
        {**message, "content": [{**part, "text": str(next(numbers))} for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _with_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": "".join(str(part["text"]) for part in content)}


def _text(render: Callable[[list[Mapping[str, Any]]], str], messages: list[Mapping[str, Any]]) -> str | None:
    """The template's text of messages; None where it fails on them."""
    try:
        return render(messages)
    except Exception:
        return None


def _takes_parts(with_parts: str, as_texts: str, messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the text of lists shows no code and all parts; what the text of texts leaves out, it may leave out."""
    lists = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    parts = [part["text"] for parts in lists for part in parts]
    shown = unescape(with_parts)
    # As Python and JSON write the field of a part.
    if any(re.search(rf"""["']text["']\s*:\s*["']{part}["']""", shown, re.IGNORECASE) for part in parts):
        return False
    return all(part in with_parts or part not in as_texts for part in parts)
