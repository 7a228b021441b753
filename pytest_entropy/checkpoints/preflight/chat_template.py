"""Check before loading that prompts of chat messages find a chat template that takes them in the checkpoint's files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import monotonic

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.template_files import ChatTemplates, read_templates, tokenizer_place
from pytest_entropy.checkpoints.preflight.template_variables import template_variables
from pytest_entropy.errors import UsageError
from pytest_entropy.policy.chat_template import PartsNotTaken, as_taken
from pytest_entropy.prompts import PromptSet
from pytest_entropy.prompts.sampled_rows import some_prompts
from pytest_entropy.settings.template_arguments import COLUMN
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

# Time that planning spends on lists of parts, in s; a run checks every prompt that it draws.
SECONDS = 5.0


def require_chat_template(
    prompts: PromptSet, files: CheckpointFiles, arguments: Mapping[str, object]
) -> ChatTemplates | None:
    """Require the tokenizer's chat template where prompts are chat messages; no default template would be right.

    The files of a base model in the hub cache are not read: there, encoding the first prompt reports the error.

    Args:
        prompts: at least one; the first decides whether they are chat messages.
        files: paths of the checkpoint.
        arguments: chat template arguments that the user gave for the run, by name, ``tools`` among them.

    Returns:
        The templates; None where the prompts are text, or the files are not read.

    Raises:
        UsageError: the prompts are chat messages and the tokenizer's files hold no template, or one that is not valid,
            does not use one of the ``arguments``, or takes texts only where a message has several text parts.
    """
    place = tokenizer_place(files)
    if isinstance(prompts[0].content, str) or place is None:
        return None
    templates = read_templates(place)
    if not templates.by_name:
        raise UsageError(
            f"prompts are chat messages, and the tokenizer in {place} has no chat template (a base model?); give "
            "prompts as text, or save the template the model was trained with beside it as chat_template.jinja"
        )
    for text in templates.by_name.values():
        try:
            template_variables(text)
        except UsageError as error:
            raise UsageError(f"the chat template in {place} {error}") from None
    unused = [name for name in arguments if not any(name in text for text in templates.by_name.values())]
    if unused:
        key = "tools" if unused == ["tools"] else COLUMN
        raise UsageError(
            f"prompts.{key}: the chat template in {place} does not use {', '.join(unused)}; it would change nothing: "
            "remove it, or spell it as the template does"
        )
    _require_parts_taken(prompts, templates)
    return templates


def has_template(files: CheckpointFiles) -> bool:
    """Whether the tokenizer's files hold a chat template; False where they are not read, or cannot be."""
    place = tokenizer_place(files)
    try:
        return place is not None and bool(read_templates(place).by_name)
    except UsageError:
        return False


def _require_parts_taken(prompts: PromptSet, templates: ChatTemplates) -> None:
    """Refuse several text parts in a message where the template takes texts only, as far as there is time to look."""
    end = monotonic() + SECONDS
    for n, prompt in some_prompts(prompts):
        if isinstance(prompt.content, str) or not any(isinstance(m.get("content"), list) for m in prompt.content):
            continue
        render = partial(templates.render, arguments=prompt.template_arguments)
        try:
            call_within(max(end - monotonic(), 0.1), partial(as_taken, render, prompt.content))
        except PartsNotTaken as error:
            raise UsageError(f"prompt {n}: the chat template in {templates.place} {error}") from None
        except TimeLimitExceeded:
            return
        if monotonic() > end:
            return
