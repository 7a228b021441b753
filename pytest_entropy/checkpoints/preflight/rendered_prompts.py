"""Check before loading that the chat template gives a text for prompts of chat messages, by rendering it."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer
from pytest_entropy.checkpoints.preflight.template_rendering import TemplateFailure
from pytest_entropy.checkpoints.tokenizer_files import chat_template, chat_templates
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.prompts.messages import Message, parts_of
from pytest_entropy.prompts.sampled_rows import sampled_rows
from pytest_entropy.prompts.tool_schemas import TOOLS

# No template looks for it.
_MARK = "4711 other words"
# For the prompts beyond the first and the longest, in s; a run reports what is left.
_SECONDS = 10.0


def require_rendered(prompts: PromptSet, files: CheckpointFiles, tokenizer: PlannedTokenizer) -> None:
    """Require a chat template that transformers would take, and that gives a text for prompts of chat messages.

    The first and the longest of the prompts that planning looks at are rendered, and one of each form of messages; the
    others as far as time allows.

    Args:
        prompts: at least one; the first decides whether they are chat messages.
        files: paths of the checkpoint.
        tokenizer: the checkpoint's.

    Raises:
        UsageError: the prompts are chat messages and the tokenizer's files hold no template, or the template fails on a
            prompt, does not come to an end, gives no text, or leaves out what the user says.
    """
    if isinstance(prompts[0].content, str):
        return
    if tokenizer.template() is None:
        raise UsageError(without_template(tokenizer.place, files))
    first, longest = (0, prompts[0]), max(sampled_rows(prompts), key=lambda row: _length(row[1]))
    for row, prompt in (first, longest):
        _require_read(tokenizer, prompt, f"row {row + 1} of the prompts")
    forms, end = {_form(first[1]), _form(longest[1])}, monotonic() + _SECONDS
    for row, prompt in sampled_rows(prompts):
        if (form := _form(prompt)) not in forms:
            forms.add(form)
            _require_read(tokenizer, prompt, f"row {row + 1} of the prompts")
        elif monotonic() <= end:
            text_to_encode(tokenizer, prompt, f"row {row + 1} of the prompts")


def text_to_encode(tokenizer: PlannedTokenizer, prompt: Prompt, name: str) -> str | None:
    """The text that a prompt is encoded from; None where the files do not say.

    Args:
        tokenizer: the checkpoint's.
        prompt: a text or chat messages.
        name: what messages call the prompt.

    Raises:
        UsageError: the chat template fails on it, does not come to an end, or gives no text.
    """
    try:
        text = tokenizer.text(prompt.content, prompt.template_arguments)
        problem = "gives no text" if text is not None and not text.strip() else ""
    except TemplateFailure as failure:
        text, problem = None, str(failure)
    if not problem:
        return text
    raise UsageError(
        f"the chat template in {_template_file(tokenizer, prompt)} {problem} on {name}, {str(prompt.content)[:120]}; "
        "give the messages as this template takes them, save the template that the model was trained with as "
        "chat_template.jinja beside the tokenizer, or give prompts as text"
    )


def _require_read(tokenizer: PlannedTokenizer, prompt: Prompt, name: str) -> None:
    """Reject a template that writes the same whatever the user says last: prompts that differ would be one.

    Templates of models with images take lists of parts, and leave out a text without a word.
    """
    text = text_to_encode(tokenizer, prompt, name)
    messages = [message for message in prompt.content if isinstance(message, dict)]
    last = max((n for n, message in enumerate(messages) if message.get("role") == "user"), default=None)
    changed = [n for n in range(len(messages)) if last in (n, None)]
    others = [_with_another_text(one) if n in changed else one for n, one in enumerate(messages)]
    try:
        same = text is not None and tokenizer.rendered(others, prompt.template_arguments) == text
    except TemplateFailure:
        return
    if same and any(parts_of(others[n]) for n in changed):
        raise UsageError(
            f"the chat template in {_template_file(tokenizer, prompt)} leaves out what the user says, on {name}, "
            f"{str(prompt.content)[:120]}; give each content as a list of parts, "
            '[{"type": "text", "text": …}], as the trainer did, or save the template that the model was trained with'
        )


def _template_file(tokenizer: PlannedTokenizer, prompt: Prompt) -> Path:
    """The file that holds the template of a prompt; the tokenizer's directory where there is none."""
    template = tokenizer.template(tools=bool(prompt.template_arguments.get(TOOLS)))
    return template.file if template else tokenizer.place


def _with_another_text(message: Message) -> Message:
    """The message, saying something else in the same form."""
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": f"{content} {_MARK}"}
    parts = [{**part, "text": f"{part.get('text', '')} {_MARK}"} for part in content or []]
    return {**message, "content": parts} if parts else message


def _form(prompt: Prompt) -> frozenset[tuple[object, type]]:
    """Who speaks in a prompt, and in which form: a text or a list of parts; empty of a text."""
    return frozenset((one.get("role"), type(one.get("content"))) for one in prompt.content if isinstance(one, dict))


def _length(prompt: Prompt) -> int:
    return len(str(prompt.content))


def without_template(place: Path, files: CheckpointFiles) -> str:
    """The message where no template is used: none is there, none is of the right name, or it is in the wrong place.

    Args:
        place: directory of the tokenizer.
        files: paths of the checkpoint.
    """
    if names := sorted(chat_templates(place)):
        found, advice = f", only ones named {', '.join(names)}", "the one the model was trained with"
    elif (place / "chat_template.json").is_file():
        found = ", only a chat_template.json, which is read for images and sound, not for text"
        advice = "the text in it"
    elif files.base and Path(files.base).is_dir() and place != Path(files.base) and chat_template(Path(files.base)):
        found, advice = f"; its base model's in {files.base} has one, which is not read", "that one"
    else:
        found, advice = " (a base model?)", "the template the model was trained with"
    return (
        f"prompts are chat messages, and the tokenizer in {place} has no chat template{found}; give prompts as text, "
        f"or save {advice} beside it as chat_template.jinja"
    )
