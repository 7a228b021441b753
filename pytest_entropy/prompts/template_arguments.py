"""Chat template arguments: those of the run, overridden by those of single prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import Prompt, PromptSet
from pytest_entropy.settings.template_arguments import COLUMN, template_arguments

__all__ = ["COLUMN", "template_arguments", "with_arguments"]


def with_arguments(prompts: PromptSet, run_arguments: Mapping[str, Any], source: str) -> PromptSet:
    """The prompts with the run's chat template arguments, each prompt's own arguments overriding them.

    A prompt's own arguments are its ``template_arguments`` or, for prompts of a plugin, its column of that name.

    Args:
        prompts: at least one.
        run_arguments: the run's arguments by name, as in the configuration.
        source: what messages call the prompts.

    Raises:
        UsageError: the prompts are text and take no arguments, or a prompt's column holds no valid arguments.
    """
    arguments = template_arguments(run_arguments)
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
    """A prompt set that adds the arguments to each prompt when it is asked for."""

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
