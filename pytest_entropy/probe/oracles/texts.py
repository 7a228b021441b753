"""Prompts encoded and responses decoded a second time, by a tokenizer of its own, as transformers documents it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.prompts import Prompt
from pytest_entropy.time_limit import call_within

# Time limit for one prompt's template, in s.
SECONDS = 30.0


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
    single = [m if m.get("content") is None or isinstance(m["content"], str) else _first_text(m) for m in messages]
    text = render(single)
    if single == messages:
        return text
    try:
        with_lists = render(messages)
    except Exception:
        return text
    lists = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    # What shows that lists are not taken: they are written as code, or their text is not there at all.
    forms = ['"type": "text"', *(f"{part}" for content in lists for part in content)]
    written = any(form in with_lists and form not in text for form in forms)
    first = [content[0]["text"].strip() for content in lists]
    return text if written or any(one in text and one not in with_lists for one in first) else with_lists


def _first_text(message: dict[str, Any]) -> dict[str, Any]:
    """The message with the text of its first part for a content."""
    return message | {"content": message["content"][0]["text"]}


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
