"""A response ends with its first end token, which counts."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Gap, identity

COUNTS = ("unterminated", "past_the_end")


def gaps(runs: Runs, given: Given) -> Iterator[Gap]:
    """Yield how many responses of each run stop short without an end token, and go on after one."""
    for run in runs:
        for name in COUNTS:
            yield name, run.number(f"agreement.{name}")


CHECK = identity(
    "responses_end",
    "a response ends with its first end token, which counts",
    "the end token, masked out because pad = EOS or ignored by the sampler",
    tuple(f"agreement.{name}" for name in COUNTS),
    gaps,
)
