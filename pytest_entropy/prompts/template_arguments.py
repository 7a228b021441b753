"""Chat template arguments of single prompts, over those of the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import Prompt, PromptSet
from pytest_entropy.settings.template_arguments import COLUMN, template_arguments

__all__ = ["COLUMN", "template_arguments", "with_arguments"]


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
