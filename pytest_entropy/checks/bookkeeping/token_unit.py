"""Entropy per token is the jackknife of a ratio of means, with the length's score (docs/mathematics.md §3)."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import SUMMING_TOLERANCE, Discrepancy, beyond, identity
from pytest_entropy.checks.bookkeeping.entropy_is_sampled import LITTLE
from pytest_entropy.checks.rounding.tolerances import NATS_NEEDS, nats_tolerance
from pytest_entropy.records.measured import Measured


def per_token(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply: no run has an entropy per token; "" where one has."""
    return "" if _per_token(runs) else "the entropy is per response, or of a single batch"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancies of each run's values, entropy and its error per token from their definition."""
    for run in _per_token(runs):
        yield "unit_gap", beyond(run.number("agreement.unit_gap"), SUMMING_TOLERANCE)
        floor = nats_tolerance(run, SUMMING_TOLERANCE)
        nats = max(abs(run.number("entropy_mean")), LITTLE)
        for reported, defined in (("entropy_mean", "entropy_per_token"), ("entropy_se", "entropy_per_token_se")):
            yield reported, beyond(abs(run.number(reported) - run.number(f"agreement.{defined}")) / nats, floor)


def _per_token(runs: Runs) -> list[Measured]:
    return [run for run in runs if run.is_per_token and not run.is_single_batch]


CHECK = identity(
    "token_unit",
    "values, entropy and its error per token are the jackknife of the ratio of entropy and length",
    "entropy per token that is not the ratio's jackknife",
    (
        "agreement.unit_gap",
        "agreement.entropy_per_token",
        "agreement.entropy_per_token_se",
        "entropy_mean",
        "entropy_se",
        *NATS_NEEDS,
    ),
    discrepancies,
    per_token,
)
