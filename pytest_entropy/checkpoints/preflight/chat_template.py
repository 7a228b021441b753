"""Check before loading that prompts of chat messages find a chat template in the checkpoint's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import PromptSet


def require_chat_template(prompts: PromptSet, files: CheckpointFiles, arguments: Mapping[str, object]) -> None:
    """Require the tokenizer's chat template where prompts are chat messages; no default template would be right.

    The files of a base model in the hub cache are not read: there, encoding the first prompt reports the error.

    Args:
        prompts: at least one; the first decides whether they are chat messages.
        files: paths of the checkpoint.
        arguments: the run's chat template arguments by name.

    Raises:
        UsageError: the prompts are chat messages and the tokenizer's files hold no template, or the template does not
            use one of the ``arguments``.
    """
    if isinstance(prompts[0].content, str):
        return
    has_tokenizer = any((files.weights / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    place = files.weights if has_tokenizer or not files.base else Path(files.base)
    if not place.is_dir() or (place / "additional_chat_templates").is_dir():
        return
    template = _template_text(place)
    if template is not None:
        unused = [name for name in arguments if name not in template]
        if unused:
            raise UsageError(
                f"prompts.chat_template_kwargs: the chat template in {place} does not use {', '.join(unused)}; it "
                "would change nothing: remove it, or spell it as the template does"
            )
        return
    raise UsageError(
        f"prompts are chat messages, and the tokenizer in {place} has no chat template (a base model?); give prompts "
        "as text, or save the template the model was trained with beside it as chat_template.jinja"
    )


def _template_text(place: Path) -> str | None:
    """The text of all files that hold the tokenizer's chat template, None where there is no template."""
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in place.glob("chat_template.*")]
    settings = place / "tokenizer_config.json"
    if settings.is_file():
        texts += [text for text in [settings.read_text("utf-8", "replace")] if '"chat_template"' in text]
    return "\n".join(texts) if texts else None
