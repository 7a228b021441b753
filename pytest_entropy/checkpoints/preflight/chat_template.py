"""Check before loading that prompts of chat messages find a chat template that takes them in the checkpoint's files."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.rendered_prompts import without_template
from pytest_entropy.checkpoints.preflight.template_files import ChatTemplates, read_templates
from pytest_entropy.checkpoints.tokenizer_files import tokenizer_place
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import PromptSet
from pytest_entropy.prompts.tool_schemas import TOOLS
from pytest_entropy.settings.template_arguments import COLUMN


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
            or does not use one of the ``arguments``.
    """
    place = tokenizer_place(files)
    if isinstance(prompts[0].content, str) or place is None:
        return None
    templates = read_templates(place)
    if not templates.by_name:
        raise UsageError(without_template(place, files))
    try:
        variables = templates.variables
    except UsageError as error:
        raise UsageError(f"the chat template in {place} {error}") from None
    unused = [name for name in arguments if name not in variables and not (name == TOOLS and templates.write_tools)]
    if unused:
        key = TOOLS if unused == [TOOLS] else COLUMN
        raise UsageError(
            f"prompts.{key}: the chat template in {place} does not use {', '.join(unused)}; it would change nothing: "
            "remove it, or spell it as the template does"
        )
    return templates


def has_template(files: CheckpointFiles) -> bool:
    """Whether the tokenizer's files hold a chat template; False where they are not read, or cannot be."""
    place = tokenizer_place(files)
    try:
        return place is not None and bool(read_templates(place).by_name)
    except UsageError:
        return False
