"""Prompts encoded and responses decoded a second time, by a tokenizer of its own, as transformers documents it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.prompts import Prompt
from pytest_entropy.time_limit import call_within

# Time limit for one prompt's template, in s.
SECONDS = 30.0
# Stands for what a message says; after it, how Python, JSON or HTML of one of these ends a struct.
_WORD = "quokka"
_CODE = re.compile(rf"{_WORD}(?:['\"]|&#?\w+;)\s*\}}")


def second_tokenizer(tokenizer: Any) -> Any:
    """A tokenizer loaded anew from the directory of another one; that one itself where there is no such directory.

    Args:
        tokenizer: a transformers tokenizer.
    """
    source = str(getattr(tokenizer, "name_or_path", ""))
    try:
        return type(tokenizer).from_pretrained(source, trust_remote_code=False, local_files_only=True)
    except Exception:
        # Which exceptions the library raises for a directory that is not there is not documented.
        return tokenizer


def other_encodings(tokenizer: Any, prompts: Sequence[Prompt], rollouts: Rollouts, chat_template: Any) -> float:
    """Number of prompts whose token ids in the rollouts are not those of a plain encoding.

    Args:
        tokenizer: the second tokenizer.
        prompts: the P prompts.
        rollouts: their responses, P prompts x G.
        chat_template: the template that chat messages are rendered with, or several by name.
    """
    return float(
        sum(
            list(_encoded(tokenizer, prompt, chat_template)) != list(ids)
            for prompt, ids in zip(prompts, rollouts.prompt_ids, strict=True)
        )
    )


def _encoded(tokenizer: Any, prompt: Prompt, chat_template: Any) -> Sequence[int]:
    if isinstance(prompt.content, str):
        text = prompt.content
        if prompt.made_of is not None:
            template, question = prompt.made_of
            before, _, after = template.partition("{question}")
            text = before + question.strip() + after
        ids: Sequence[int] = tokenizer(text)["input_ids"]
        return ids
    if isinstance(chat_template, dict):
        # Several templates by name, of which the library chooses one by the tools.
        tokenizer.chat_template, chat_template = chat_template, None
    render = partial(
        tokenizer.apply_chat_template,
        chat_template=chat_template,
        tokenize=False,
        add_generation_prompt=True,
        **prompt.template_arguments,
    )
    text = call_within(SECONDS, partial(_rendered, render, list(prompt.content)))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _rendered(render: Callable[[list[dict[str, Any]]], str], messages: list[dict[str, Any]]) -> str:
    """The template's text; of lists of one part as their text, where the template does not take lists."""
    lists = [isinstance(message.get("content"), list) for message in messages]
    if not any(lists) or _takes_lists(render, messages, lists):
        return render(messages)
    return render(
        [m | {"content": m["content"][0]["text"]} if listed else m for m, listed in zip(messages, lists, strict=True)]
    )


def _takes_lists(
    render: Callable[[list[dict[str, Any]]], str], messages: list[dict[str, Any]], lists: Sequence[bool]
) -> bool:
    """Whether the template writes a word in a list as often as the word alone, and does not write the list as code."""
    texts = []
    for content in ([{"type": "text", "text": _WORD}], _WORD):
        try:
            text = render([m | {"content": content} if one else m for m, one in zip(messages, lists, strict=True)])
        except Exception:
            # What a template cannot take it may fail on.
            text = ""
        texts.append(text.casefold())
    listed, plain = texts
    return listed.count(_WORD) >= plain.count(_WORD) and len(_CODE.findall(listed)) <= len(_CODE.findall(plain))


def other_texts(tokenizer: Any, rollouts: Rollouts, texts: Sequence[Sequence[str]]) -> float:
    """Number of responses whose text is not that of a plain decoding without special tokens.

    Args:
        tokenizer: the second tokenizer.
        rollouts: P prompts x G responses.
        texts: the responses' texts ``[P][G]``, as the reward function got them.
    """
    different = 0
    for n, (rows, lengths) in enumerate(zip(rollouts.tokens.tolist(), rollouts.lengths.tolist(), strict=True)):
        for g, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            different += tokenizer.decode(row[:length], skip_special_tokens=True) != texts[n][g]
    return float(different)
