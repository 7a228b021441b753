"""What a prompt source is: which ``prompts.source`` it claims, and the prompts it makes of it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.prompts.rows import prompts_from_rows


@dataclass(frozen=True)
class Columns:
    """Where prompt and answer stand in a row.

    Attributes:
        prompt: column with the prompt, or with the question if there is a template.
        answer: column offered to rewards as ``answer``; dotted where it is nested.
        template: name of a built-in template, or a text with ``{question}``; None for none.
    """

    prompt: str = "prompt"
    answer: str = "answer"
    template: str | None = None


@dataclass(frozen=True)
class PromptSource:
    """One place prompts come from.

    Attributes:
        form: what messages say one can give for it, such as ``datasets:NAME``, or a file's
            ending such as ``.jsonl``.
        claims: whether a ``prompts.source`` is of this kind; looks at the text only.
        open: its prompts, in the order of the source.
    """

    form: str
    claims: Callable[[str], bool]
    open: Callable[[str, Columns], PromptSet]


def from_rows(rows: Iterable[tuple[str, Mapping[str, Any]]], label: str, columns: Columns) -> PromptSet:
    """The prompts of ("row N", row) pairs; ``label`` is what messages call their origin.

    Raises:
        UsageError: a row that is no prompt, named.
    """
    return prompts_from_rows(
        rows, source=label, prompt_column=columns.prompt, answer_column=columns.answer, template=columns.template
    )


def known_sources() -> list[PromptSource]:
    """All prompt sources, installed ones included.

    Raises:
        UsageError: an installed one that cannot be imported, or is none.
    """
    return [registry.get("prompt_sources", name, PromptSource) for name in registry.names("prompt_sources")]


def known_forms() -> str:
    """What one can give as ``prompts.source``, for messages."""
    forms = [source.form for source in known_sources()]
    endings = [form for form in forms if form.startswith(".")]
    # Quoted words last, as in a .jsonl or .parquet file, datasets:NAME, or 'demo'.
    *others, last = sorted((form for form in forms if form not in endings), key=lambda form: form.startswith("'"))
    files = f"a {' or '.join(endings)} file"
    return f"{', '.join([files, *others])}, or {last}"


def regular_file(source: str) -> Path:
    """The path of a prompts file that can be read from beginning to end.

    Raises:
        UsageError: missing, a directory, a pipe, a device, a loop of links, or a path that is none.
    """
    try:
        path = Path(source).expanduser()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UsageError(f"prompts file {source} does not exist; give {known_forms()}") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"prompts file {source!r} cannot be opened: {reason}") from None
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe (FIFO)"), (stat.S_ISSOCK, "a socket"))
        what = next((name for test, name in kinds if test(mode)), "a device")
        raise UsageError(
            f"prompts file {source} is {what}, not a file: it is read by every worker; give {known_forms()}"
        )
    return path
