"""The responses to a prompt are drawn independently."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Gap, identity


def gaps(runs: Runs, given: Given) -> Iterator[Gap]:
    """Yield how many prompts of each run have responses that are one and the same, where that is no chance."""
    for run in runs:
        yield "copies", run.number("agreement.copies")


CHECK = identity(
    "responses_differ",
    "the responses to a prompt differ, unless the policy is nearly certain of them",
    "responses that copy one another: one stream of random numbers for all of a group",
    ("agreement.copies",),
    gaps,
)
