"""Chat template arguments: those of the run, overridden by those of single prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import Prompt, PromptSet
from pytest_entropy.prompts.tool_schemas import TOOLS, tool_schemas
from pytest_entropy.settings.template_arguments import COLUMN, template_arguments

__all__ = ["COLUMN", "row_arguments", "template_arguments", "with_arguments"]

# The columns that reach the template.
_COLUMNS = (COLUMN, TOOLS)


def row_arguments(columns: Mapping[str, Any], *, from_table: bool = False) -> dict[str, Any]:
    """The arguments of the chat template in a row's columns of these names, its ``tools`` among them.

    Args:
        columns: the row's, by name.
        from_table: whether the row comes from a table, whose structs have nulls for the fields of other rows.

    Raises:
        ValueError: a column holds no valid arguments, or no tools.
    """
    own = columns.get(COLUMN)
    arguments = {} if own is None else template_arguments(own)
    schemas = tool_schemas(columns.get(TOOLS), from_table=from_table)
    return {**arguments, TOOLS: schemas} if schemas else arguments


def with_arguments(
    prompts: PromptSet, run_arguments: Mapping[str, Any], source: str, tools: Sequence[Mapping[str, Any]] = ()
) -> PromptSet:
    """The prompts with the run's chat template arguments, each prompt's own arguments overriding them.

    A prompt's own arguments are its ``template_arguments`` or, for prompts of a plugin, its columns
    ``chat_template_kwargs`` and ``tools``.

    Args:
        prompts: at least one.
        run_arguments: the run's arguments by name, as in the configuration.
        source: what messages call the prompts.
        tools: the run's tools, as JSON schemas; a prompt's own stand in their place.

    Raises:
        UsageError: the prompts are text and take no arguments, or a prompt's column holds no valid arguments.
    """
    arguments = template_arguments(run_arguments)
    if isinstance(prompts[0].content, str):
        if tools:
            raise UsageError(
                f"prompts.{TOOLS} is for chat messages, and the prompts of {source} are text, to which no template is "
                "applied; remove it, or give the prompts as messages"
            )
        if arguments:
            raise UsageError(
                f"prompts.{COLUMN} ({', '.join(arguments)}) is for chat messages, and the prompts of {source} are "
                "text, to which no template is applied; remove it, or give the prompts as messages"
            )
        return prompts
    if tools:
        arguments = {**arguments, TOOLS: list(tools)}
    if isinstance(prompts, list) and not arguments and not any(name in p.columns for p in prompts for name in _COLUMNS):
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
        try:
            arguments = {**self.arguments, **(prompt.template_arguments or row_arguments(prompt.columns))}
        except ValueError as error:
            raise UsageError(f"prompts {self.source}, row {index + 1}: {error}") from None
        return replace(prompt, template_arguments=arguments)
