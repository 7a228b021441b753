"""Columns that look like a part of the prompt, and do not reach the chat template."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pytest_entropy.checkpoints.preflight.template_files import ChatTemplates
from pytest_entropy.checkpoints.preflight.template_variables import template_variables
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.prompts.messages import shown
from pytest_entropy.prompts.sampled_rows import some_prompts
from pytest_entropy.prompts.tool_schemas import TOOLS
from pytest_entropy.settings.template_arguments import COLUMN

# Names that people and other trainers give to what is called otherwise here.
_SYSTEM = frozenset({"system", "system_prompt", "system_message", "developer", "history", "chat_history"})
_OF_TEMPLATES = frozenset(
    {
        "template_kwargs", "template_args", "template_arguments", "chat_template_args", "chat_template_arguments",
        "chat_kwargs", "apply_chat_template_kwargs", "enable_thinking", "thinking", "thinking_budget",
        "reasoning_effort", "add_generation_prompt", "documents",
    }
)  # fmt: skip
_OF_TOOLS = frozenset(
    {"tool", "functions", "function", "tool_schemas", "available_tools", "tools_schema", "tools_kwargs"}
)
_LIKE = _SYSTEM | _OF_TEMPLATES | _OF_TOOLS
# Beside a prompt of text the same prompt as messages, maybe.
_CHATS = frozenset({"messages", "conversation", "conversations", "chat"})


def require_reached(prompts: PromptSet, templates: ChatTemplates) -> None:
    """Refuse a column that has the name of a variable of the template, which a column alone does not set.

    No trainer passes such a column on; without its value the template makes another prompt, and says nothing.

    Args:
        prompts: chat messages; of a large set some are looked at.
        templates: the checkpoint's.

    Raises:
        UsageError: names column, prompt and remedy.
    """
    variables = {name: template_variables(text) for name, text in templates.by_name.items()}
    for n, prompt in some_prompts(prompts):
        taken = variables.get("tool_use" if TOOLS in prompt.template_arguments else "default", frozenset())
        for name in taken & prompt.columns.keys():
            value = prompt.columns[name]
            if _is_set(value) and prompt.template_arguments.get(name) != value:
                raise UsageError(
                    f"prompt {n}: column {name!r} ({shown(value)}) has the name of a variable of the chat template in "
                    f"{templates.place}, which a column does not set: move it into {COLUMN}, for a row or for the run, "
                    "or rename it if only a reward reads it"
                )


def columns_left_out(prompts: PromptSet, templates: ChatTemplates | None) -> list[str]:
    """The header's line on columns that look like a part of the prompt, and are none.

    Args:
        prompts: of a large set some are looked at.
        templates: the checkpoint's; None where they are not known, or the prompts are text.
    """
    found: dict[str, None] = {}
    variables = templates.variables if templates else frozenset()
    without_tools = templates is not None and not templates.write_tools
    text = isinstance(prompts[0].content, str)
    for _, prompt in some_prompts(prompts):
        names = _left_out(prompt, variables)
        if _is_set(prompt.columns.get(TOOLS)) and (text or without_tools):
            names.append(TOOLS)
        if text:
            names += [name for name in _CHATS & prompt.columns.keys() if isinstance(prompt.columns[name], list)]
        found |= dict.fromkeys(names)
    if not found:
        return []
    listed = ", ".join(list(found)[:6]) + (", …" if len(found) > 6 else "")
    if text:
        return [f"  not part of the prompts, which are text: {listed} (rewards get every column)"]
    why = f"system prompts belong into the messages, variables into {COLUMN}, tools into {TOOLS}"
    if found.keys() == {TOOLS}:
        why = "the template does not use them"
    return [f"  not given to the chat template: {listed} ({why})"]


def _left_out(prompt: Prompt, variables: frozenset[str]) -> list[str]:
    """The prompt's columns with such a name, and fields of structs such as ``extra_info``, dotted."""
    names = [name for name, value in prompt.columns.items() if name in _LIKE and _is_set(value)]
    for name, value in prompt.columns.items():
        if isinstance(value, Mapping) and name != COLUMN:
            inside = (_LIKE - _SYSTEM) | {COLUMN, TOOLS} | variables
            names += [f"{name}.{key}" for key, inner in value.items() if key in inside and _is_set(inner)]
    return [name for name in names if prompt.template_arguments.get(name) is None]


def _is_set(value: object) -> bool:
    """Whether a column says something: no null, and no empty text, list or struct."""
    return value is not None and not (isinstance(value, str | list | dict) and not value)


def unused_arguments(prompts: PromptSet, templates: ChatTemplates | None, of_run: Collection[str]) -> list[str]:
    """The header's line on arguments of rows that the template does not take, or that are the text of true or false.

    Args:
        prompts: of a large set some are looked at.
        templates: the checkpoint's; None where they are not known, or the prompts are text.
        of_run: the names of the run's own arguments, which are judged by themselves.
    """
    if templates is None:
        return []
    given = {name: value for _, prompt in some_prompts(prompts) for name, value in prompt.template_arguments.items()}
    unused = sorted(given.keys() - templates.variables - set(of_run) - {TOOLS})
    texts = sorted(
        name for name, value in given.items() if isinstance(value, str) and value.lower() in ("true", "false")
    )
    notes = []
    if unused:
        notes.append(f"  warning: {COLUMN} of rows has {', '.join(unused[:6])}, which the chat template does not use")
    if texts:
        notes.append(
            f"  warning: {COLUMN} has {', '.join(texts[:6])} as a text, which templates take for true: give true or "
            "false without quotes"
        )
    return notes
