"""Arguments of a chat template (``enable_thinking: false``): of a whole run, and of single rows over them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import Prompt, PromptSet

# The name of the key below ``prompts`` and of the column, as TRL has them.
COLUMN = "chat_template_kwargs"
# What the probe itself decides when it applies a template, and the template's own names for it.
RESERVED = frozenset(
    {
        "self", "conversation", "conversations", "messages", "tools", "chat_template", "add_generation_prompt",
        "continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length",
        "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs",
    }
)  # fmt: skip


def template_arguments(value: Any) -> dict[str, Any]:
    """The arguments in a mapping by name; those that are null are not given (tables hold nulls for other rows' names).

    Raises:
        ValueError: not a mapping, a name that is none or that the probe itself decides on, or a value that is not
            plain (text, number, true, false, lists and mappings of these).
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{COLUMN} is a mapping such as {{enable_thinking: false}}, not {_shown(value)}")
    for name, argument in value.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"{COLUMN}: {_shown(name)} is no name that a template could use")
        if name in RESERVED:
            raise ValueError(
                f"{COLUMN}: {name} is not the template's to be told: it is given by the prompt and the probe; remove it"
            )
        try:
            json.dumps(argument)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{COLUMN}: {name} is {_shown(argument)}, which is no plain value") from None
    return {name: argument for name, argument in value.items() if argument is not None}


def with_arguments(prompts: PromptSet, given: Mapping[str, Any], source: str) -> PromptSet:
    """The prompts with the run's arguments below their own ones; prompts of a plugin have theirs in the column.

    Args:
        prompts: at least one.
        given: of the run, as in the configuration.
        source: what messages call the prompts.

    Raises:
        UsageError: arguments for prompts that are text, or a column that holds none.
    """
    arguments = template_arguments(given)
    if isinstance(prompts[0].content, str):
        if arguments:
            raise UsageError(
                f"prompts.{COLUMN} ({', '.join(arguments)}) is for chat messages, and the prompts of {source} are "
                "text, to which no template is applied; remove it, or give the prompts as messages"
            )
        return prompts
    if isinstance(prompts, list) and not arguments and not any(COLUMN in prompt.columns for prompt in prompts):
        return prompts
    whole = _WithArguments(prompts, arguments, source)
    return [whole[n] for n in range(len(prompts))] if isinstance(prompts, list) else whole


@dataclass(frozen=True)
class _WithArguments:
    """A set that makes its prompts on demand, each with its arguments."""

    prompts: PromptSet
    arguments: Mapping[str, Any]
    source: str

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: int) -> Prompt:
        prompt = self.prompts[index]
        own = prompt.template_arguments or prompt.columns.get(COLUMN)
        try:
            arguments = {**self.arguments, **({} if own is None else template_arguments(own))}
        except ValueError as error:
            raise UsageError(f"prompts {self.source}, row {index + 1}: {error}") from None
        return replace(prompt, template_arguments=arguments)


def _shown(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else f"{text[:79]}…"
