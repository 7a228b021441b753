"""The source ``gsm8k_r1_template[:SPLIT]``: GSM8K (by default its training split) in DeepSeek-R1-Zero's template."""

from __future__ import annotations

from dataclasses import replace

from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.prompts.sources import dataset
from pytest_entropy.prompts.sources.base import Columns, PromptSource

NAME = "gsm8k_r1_template"


def claims(source: str) -> bool:
    """Whether a source has this name, with or without a split."""
    return source.partition(":")[0] == NAME


def open_source(source: str, columns: Columns) -> PromptSet:
    """Open the data set's prompts, in the ``r1`` template unless ``columns`` name another.

    Raises:
        UsageError: the data set cannot be loaded, or a row is invalid.
    """
    split = source.partition(":")[2] or "train"
    prompt = "question" if columns.prompt == "prompt" else columns.prompt
    in_template = replace(columns, prompt=prompt, template=columns.template or "r1")
    return dataset.open_source(f"{dataset.DATASETS}openai/gsm8k:main:{split}", in_template)


SOURCE = PromptSource(NAME, claims, open_source)
