"""The interface of a prompt source: which values of ``prompts.source`` it claims, and how it opens them."""

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
    """The columns of prompt and answer in a row, and the template of prompts.

    Attributes:
        prompt: column with the prompt, or with the question if there is a template.
        answer: column that rewards get as ``answer``; dotted where it is nested.
        template: name of a built-in template, or a text with ``{question}``; None if the column holds whole prompts.
    """

    prompt: str = "prompt"
    answer: str = "answer"
    template: str | None = None


@dataclass(frozen=True)
class PromptSource:
    """A kind of ``prompts.source``.

    Attributes:
        form: the form of its names, for messages, such as ``datasets:NAME``, or a file's ending such as ``.jsonl``.
        claims: whether a ``prompts.source`` is of this kind; reads the text only, and opens nothing.
        open: opens a ``prompts.source`` as prompts, in the order of the source.
    """

    form: str
    claims: Callable[[str], bool]
    open: Callable[[str, Columns], PromptSet]


def from_rows(
    rows: Iterable[tuple[str, Mapping[str, Any]]], label: str, columns: Columns, *, from_table: bool = False
) -> PromptSet:
    """Make prompts of ("row N", row) pairs.

    Args:
        rows: pairs of a row's place and the row.
        label: what messages call the rows' origin.
        columns: the columns of prompt and answer, and the template.
        from_table: whether the rows come from a table, whose structs have nulls for the fields of other rows.

    Raises:
        UsageError: a row is not a valid prompt; names the row.
    """
    return prompts_from_rows(
        rows,
        source=label,
        prompt_column=columns.prompt,
        answer_column=columns.answer,
        template=columns.template,
        from_table=from_table,
    )


def known_sources() -> list[PromptSource]:
    """All prompt sources, installed ones included.

    Raises:
        UsageError: an installed source cannot be imported, or is not a :class:`PromptSource`.
    """
    return [registry.get("prompt_sources", name, PromptSource) for name in registry.names("prompt_sources")]


def known_forms() -> str:
    """The forms that ``prompts.source`` may have, in words, for messages."""
    forms = [source.form for source in known_sources()]
    endings = [form for form in forms if form.startswith(".")]
    # Quoted words last: a .jsonl or .parquet file, datasets:NAME, or 'demo'.
    *others, last = sorted((form for form in forms if form not in endings), key=lambda form: form.startswith("'"))
    files = f"a {' or '.join(endings)} file"
    return f"{', '.join([files, *others])}, or {last}"


def regular_file(source: str) -> Path:
    """The path of a prompts file that several workers can read.

    Raises:
        UsageError: the file is missing, a directory, a pipe, a socket, a device or a loop of links, or the path is
            invalid.
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
            f"prompts file {source} is {what}, not a file: every worker has to read it; give {known_forms()}"
        )
    return path
