"""GSM8K in DeepSeek-R1-Zero's template: ``gsm8k_r1_template`` with ``:SPLIT``, the training split if none is named."""

from __future__ import annotations

from dataclasses import replace

from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.prompts.sources import dataset
from pytest_entropy.prompts.sources.base import Columns, PromptSource

NAME = "gsm8k_r1_template"


def claims(source: str) -> bool:
    """Its name, with or without a split."""
    return source.partition(":")[0] == NAME


def open_source(source: str, columns: Columns) -> PromptSet:
    """The data set's prompts, in the ``r1`` template unless there is another.

    Raises:
        UsageError: the data set cannot be loaded, or has a bad row.
    """
    split = source.partition(":")[2] or "train"
    prompt = "question" if columns.prompt == "prompt" else columns.prompt
    own = replace(columns, prompt=prompt, template=columns.template or "r1")
    return dataset.open_source(f"{dataset.DATASETS}openai/gsm8k:main:{split}", own)


SOURCE = PromptSource(NAME, claims, open_source)
