"""The tokens that end a response are those that the checkpoint's JSON files name."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import read_again

CHECK = read_again(
    "end_tokens_are_configured",
    "the tokens that end a response are those of generation_config.json, config.json and the tokenizer",
    "an end token of one of these files left out, or one that none of them names",
    "end_tokens",
)
