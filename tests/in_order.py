"""The prompts of a set, which is only asked for its length and for one at a time."""

from __future__ import annotations

from pytest_entropy.prompts import Prompt
from pytest_entropy.prompts.prompt import PromptSet


def in_order(prompts: PromptSet) -> list[Prompt]:
    """All of them, from the first to the last."""
    return [prompts[index] for index in range(len(prompts))]
