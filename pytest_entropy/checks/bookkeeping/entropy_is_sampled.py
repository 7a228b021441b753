"""The reported entropy is the sum over tokens, averaged over responses, of the entropies that the sampler recorded."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import SUMMING_TOLERANCE, Discrepancy, beyond, identity
from pytest_entropy.checks.rounding.tolerances import NATS_NEEDS, nats_tolerance

# Nats per token; below it (a collapsed policy) rounding is a share of the number of tokens, not of the entropy.
LITTLE = 0.01
COMPARED = (("entropy_mean", "entropy_sampled"), ("entropy_se", "entropy_se_sampled"))


def entropies_per_response(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply: all entropies are per token; "" where one is per response."""
    return "the entropy is per token" if all(run.is_per_token for run in runs) else ""


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancies of each run's entropy and its error, beyond the rounding of two passes."""
    for run in runs:
        if run.is_per_token:
            continue
        nats = max(run.number("entropy_mean"), LITTLE * run.number("length_mean"))
        floor = nats_tolerance(run, SUMMING_TOLERANCE)
        for reported, sampled in COMPARED:
            discrepancy = abs(run.number(reported) - run.number(f"agreement.{sampled}")) / (nats or 1.0)
            yield reported, beyond(discrepancy, floor)


CHECK = identity(
    "entropy_is_sampled",
    "the mean entropy and its error are those of the sampled tokens",
    "an entropy that is not the tokens' sum, averaged over responses (its error, over prompts)",
    (
        "entropy_mean",
        "entropy_se",
        "length_mean",
        "agreement.entropy_se_sampled",
        *NATS_NEEDS,
    ),
    discrepancies,
    entropies_per_response,
)
