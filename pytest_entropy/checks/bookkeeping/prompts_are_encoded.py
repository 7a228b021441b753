"""The tokens of each prompt of E and of U are those of a plain encoding by a second tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, definition_not_asked, identity, with_definition


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield how many prompts of each run, and of its update, have other tokens than a plain encoding gives."""
    for run in with_definition(runs):
        if not run.is_single_batch:
            yield "prompts of E", run.number("agreement.encodings")
        yield "prompts of the update", run.number("update.encodings")


CHECK = identity(
    "prompts_are_encoded",
    "a prompt's tokens are those of a plain encoding of its text, or of its rendered messages",
    "prompts that lost a token or were cut, a start token doubled, a chat template applied twice or not at all",
    ("asked", "agreement.encodings", "update.encodings"),
    discrepancies,
    definition_not_asked,
)
