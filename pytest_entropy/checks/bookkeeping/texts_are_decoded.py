"""The texts that were rewarded are those of a plain decoding of the responses by a second tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, definition_not_asked, identity, with_definition


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield how many of the update's responses were rewarded for another text than a plain decoding gives."""
    for run in with_definition(runs):
        yield "texts of the update", run.number("update.texts")


CHECK = identity(
    "texts_are_decoded",
    "the text that was rewarded is the response's, without special tokens",
    "texts for the reward that lost tokens, keep the end token, hold the prompt, or were changed",
    ("asked", "update.texts"),
    discrepancies,
    definition_not_asked,
)
