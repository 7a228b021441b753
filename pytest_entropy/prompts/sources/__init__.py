"""Prompt sources, one file each; a new file here is a new source (CONTRIBUTING.md)."""

from __future__ import annotations

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.prompts.sources.base import Columns, known_sources, regular_file


def open_prompts(
    source: str, *, prompt_column: str = "prompt", answer_column: str = "answer", template: str | None = None
) -> PromptSet:
    """Open the prompts that a configuration names, in the order of the source.

    Args:
        source: ``demo``; a ``.jsonl``, ``.json`` (one object per line) or ``.parquet`` file; ``datasets:NAME``,
            ``datasets:NAME:SPLIT`` or ``datasets:NAME:CONFIG:SPLIT``; ``gsm8k_r1_template`` or
            ``gsm8k_r1_template:SPLIT``, GSM8K in the ``r1`` template; or a name that an installed source claims.
        prompt_column: column with the prompt, or with the question if there is a template.
        answer_column: column that rewards get as ``answer``; dotted where it is nested.
        template: name of a built-in template, or a text with ``{question}``.

    Raises:
        UsageError: the file does not exist or is of an unknown kind, or a row is invalid; names file and row.
    """
    for kind in known_sources():
        if kind.claims(source):
            return kind.open(source, Columns(prompt_column, answer_column, template))
    suffix = regular_file(source).suffix
    raise UsageError(f"prompts file {source}: unknown kind {suffix!r}; known are .jsonl, .json and .parquet")
