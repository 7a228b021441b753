"""What planning says of prompts and the checkpoint's chat template, and the template's arguments of a run."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.chat_template import has_template, require_chat_template
from pytest_entropy.checkpoints.preflight.logged_comparison import compare_with_log
from pytest_entropy.checkpoints.preflight.prompt_columns import columns_left_out, require_reached, unused_arguments
from pytest_entropy.checkpoints.preflight.template_files import ChatTemplates
from pytest_entropy.checkpoints.preflight.template_variables import template_variables
from pytest_entropy.checkpoints.training_arguments import NAME
from pytest_entropy.prompts import PromptSet
from pytest_entropy.prompts.sampled_rows import some_prompts
from pytest_entropy.prompts.tool_schemas import TOOLS
from pytest_entropy.settings.layers import ResolvedConfig
from pytest_entropy.settings.template_arguments import COLUMN


def run_arguments(resolved: ResolvedConfig, prompts: PromptSet) -> dict[str, object]:
    """The run's arguments of the chat template; those of the trainer's file do not apply to text, as in TRL.

    Args:
        resolved: the configuration.
        prompts: at least one.
    """
    arguments = dict(resolved.config.prompts.chat_template_kwargs)
    if isinstance(prompts[0].content, str):
        return _of_the_user(resolved, arguments)
    return arguments


def prompt_notes(resolved: ResolvedConfig, files: CheckpointFiles, prompts: PromptSet) -> tuple[str, ...]:
    """Check the prompts against the checkpoint's chat template, and return the header's lines on them.

    Args:
        resolved: the configuration.
        files: paths of the checkpoint.
        prompts: at least one.

    Raises:
        UsageError: there is no template, it cannot take the prompts, or a column has the name of one of its variables.
    """
    arguments = dict(resolved.config.prompts.chat_template_kwargs)
    # The trainer gave the template what it gave, used or not.
    users = _of_the_user(resolved, arguments)
    tools = {TOOLS: True} if resolved.config.prompts.tools else {}
    templates = require_chat_template(prompts, files, {**users, **tools})
    if templates is not None:
        require_reached(prompts, templates)
    notes = [*_of_chat(prompts), *_of_the_template(templates, arguments), *columns_left_out(prompts, templates)]
    notes += unused_arguments(prompts, templates, arguments)
    if isinstance(prompts[0].content, str) and has_template(files):
        notes.append("  the prompts are text, so the tokenizer's chat template is not applied to them")
    if compared := compare_with_log(files, prompts):
        notes.append(compared.note)
    if isinstance(prompts[0].content, str) and len(users) < len(arguments):
        notes.append(f"  {COLUMN} of {NAME} do not apply: the prompts are text")
    return tuple(notes)


def _of_chat(prompts: PromptSet) -> list[str]:
    """The header's lines on what trainers make different prompts of: tools of rows, and an assistant's last message."""
    with_tools = continued = looked = 0
    for _, prompt in some_prompts(prompts):
        looked += 1
        if not isinstance(prompt.content, str):
            with_tools += TOOLS in prompt.template_arguments and bool(prompt.columns.get(TOOLS))
            continued += prompt.content[-1]["role"] == "assistant"
    notes = []
    if with_tools:
        notes.append(
            f"  tools of {with_tools} of {looked} prompts are given to the chat template (TRL's GRPOTrainer gives "
            "those of its argument tools instead)"
        )
    if continued:
        notes.append(
            f"  {continued} of {looked} prompts end in an assistant's message, and a new turn is opened after it; give "
            "them as text if the trainer continued that message"
        )
    return notes


def _of_the_template(templates: ChatTemplates | None, arguments: Mapping[str, object]) -> list[str]:
    """The header's line on a template that writes today's date, which the trainer's prompts did not have."""
    texts = [] if templates is None else [text for text in templates.by_name.values() if "strftime_now" in text]
    if not texts or any("date" in name for name in arguments):
        return []
    named = sorted(name for text in texts for name in template_variables(text) if "date" in name)
    remedy = f"set the trainer's as prompts.{COLUMN}.{named[0]}" if named else "write the trainer's into the template"
    return [f"  the chat template writes the date of the day on which it runs: {remedy}"]


def _of_the_user(resolved: ResolvedConfig, arguments: dict[str, object]) -> dict[str, object]:
    """The arguments that do not come from the trainer's file."""
    return {
        name: value for name, value in arguments.items() if resolved.sources.get(f"prompts.{COLUMN}.{name}") != NAME
    }
