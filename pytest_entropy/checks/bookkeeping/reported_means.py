"""The reported mean length and share of ended responses equal those of the sampler's record."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import SUMMING_TOLERANCE, Discrepancy, beyond, identity


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the discrepancies of each run's mean length (relative) and ended share, beyond rounding."""
    for run in runs:
        sampled = run.number("agreement.length_sampled")
        length = abs(run.number("length_mean") - sampled) / (sampled or 1.0)
        yield "length_mean", beyond(length, SUMMING_TOLERANCE)
        ended = abs(run.number("ended_share") - run.number("agreement.ended_sampled"))
        yield "ended_share", beyond(ended, SUMMING_TOLERANCE)


CHECK = identity(
    "reported_means",
    "the mean length and the share of responses that ended are those of the sampled responses",
    "a reported mean that its own record does not give",
    ("length_mean", "ended_share", "agreement.length_sampled", "agreement.ended_sampled"),
    discrepancies,
)
