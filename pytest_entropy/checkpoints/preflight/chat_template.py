"""Whether prompts that are chat messages find a chat template in the checkpoint's files, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import PromptSet


def require_chat_template(prompts: PromptSet, files: CheckpointFiles, told: Mapping[str, object]) -> None:
    """Chat messages need the chat template of the checkpoint's tokenizer; there is no default that is right.

    A base model known by a hub id only is not looked into; encoding its first prompt tells.

    Raises:
        UsageError: the prompts are chat messages and the tokenizer's files hold no template, or none that speaks of an
            argument that it is ``told``.
    """
    if isinstance(prompts[0].content, str):
        return
    own = any((files.weights / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    place = files.weights if own or not files.base else Path(files.base)
    if not place.is_dir() or (place / "additional_chat_templates").is_dir():
        return
    template = _template_text(place)
    if template is not None:
        idle = [name for name in told if name not in template]
        if idle:
            raise UsageError(
                f"prompts.chat_template_kwargs: the chat template in {place} does not speak of {', '.join(idle)}; it "
                "would change nothing: remove it, or spell it as the template does"
            )
        return
    raise UsageError(
        f"prompts are chat messages, and the tokenizer in {place} has no chat template (a base model?); give prompts "
        "as text, or save the template the model was trained with beside it as chat_template.jinja"
    )


def _template_text(place: Path) -> str | None:
    """The text of the files with a tokenizer's chat template, None where there is none."""
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in place.glob("chat_template.*")]
    settings = place / "tokenizer_config.json"
    if settings.is_file():
        texts += [text for text in [settings.read_text("utf-8", "replace")] if '"chat_template"' in text]
    return "\n".join(texts) if texts else None
