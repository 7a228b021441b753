"""The prompt set a configuration names: the demo's, a file's, or a data set's."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import DemoPrompts, PromptSet
from pytest_entropy.prompts.rows import prompts_from_rows
from pytest_entropy.prompts.sources.dataset import DATASETS, read_dataset
from pytest_entropy.prompts.sources.jsonl import read_jsonl
from pytest_entropy.prompts.sources.parquet import read_parquet

DEMO = "demo"
GSM8K_R1 = "gsm8k_r1_template"
_NAMED = f"a .jsonl or .parquet file, {DATASETS}NAME, {GSM8K_R1}, or '{DEMO}'"


def open_prompts(
    source: str, *, prompt_column: str = "prompt", answer_column: str = "answer", template: str | None = None
) -> PromptSet:
    """The prompts a configuration names, in the order of the source.

    Args:
        source: ``demo``; a ``.jsonl``, ``.json`` (an object a line) or ``.parquet`` file; ``datasets:NAME``,
            ``datasets:NAME:SPLIT`` or ``datasets:NAME:CONFIG:SPLIT``; ``gsm8k_r1_template`` with ``:SPLIT``,
            which is GSM8K in the ``r1`` template.
        prompt_column: column with the prompt, or with the question if there is a template.
        answer_column: column offered to rewards as ``answer``; dotted where it is nested.
        template: name of a built-in template, or a text with ``{question}``.

    Raises:
        UsageError: no such file, unknown kind of file, or a bad row; names file and row.
    """
    if source == DEMO:
        return DemoPrompts()
    name, _, split = source.partition(":")
    if name == GSM8K_R1:
        source = f"{DATASETS}openai/gsm8k:main:{split or 'train'}"
        prompt_column = "question" if prompt_column == "prompt" else prompt_column
        template = template or "r1"
    rows, label = _rows(source)
    return prompts_from_rows(
        rows, source=label, prompt_column=prompt_column, answer_column=answer_column, template=template
    )


def _rows(source: str) -> tuple[Iterable[tuple[str, Mapping[str, Any]]], str]:
    if source.startswith(DATASETS):
        return read_dataset(source), f"data set {source.removeprefix(DATASETS)}"
    path = regular_file(source)
    if path.suffix in (".jsonl", ".json"):
        return read_jsonl(path), f"prompts file {path}"
    if path.suffix == ".parquet":
        return read_parquet(path), f"prompts file {path}"
    raise UsageError(f"prompts file {source}: unknown kind {path.suffix!r}; known are .jsonl, .json and .parquet")


def regular_file(source: str) -> Path:
    """The path of a prompts file that can be read from beginning to end.

    Raises:
        UsageError: missing, a directory, a pipe, a device, a loop of links, or a path that is none.
    """
    try:
        path = Path(source).expanduser()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UsageError(f"prompts file {source} does not exist; give {_NAMED}") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"prompts file {source!r} cannot be opened: {reason}") from None
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe (FIFO)"), (stat.S_ISSOCK, "a socket"))
        what = next((name for test, name in kinds if test(mode)), "a device")
        raise UsageError(f"prompts file {source} is {what}, not a file: it is read by every worker; give {_NAMED}")
    return path
