"""The expected number of responses with a surprise is the sum over prompts, and a prompt's that of its definition."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_entropy.checks.base import SURPRISES, Given, Runs
from pytest_entropy.checks.bookkeeping.base import (
    SUMMING_TOLERANCE,
    Discrepancy,
    beyond,
    definition_not_asked,
    identity,
    of_two_batches,
    two_batches,
    with_definition,
)
from pytest_entropy.checks.rounding.tolerances import CAP_NEEDS, noise_cap

ALONE, BY_PROMPT = "agreement.alone_surprises", "arrays.first_surprises"


def not_counted_again(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply; "" where it does."""
    if reason := definition_not_asked(runs, given):
        return reason
    return "" if with_definition(of_two_batches(runs)) else two_batches(runs, given)


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the discrepancies of one prompt's number per token, and of each run's sum, relative."""
    for run in with_definition(of_two_batches(runs)):
        # As log-probabilities of two passes do, each token's probability may differ by their noise.
        yield "expected surprises of a prompt", beyond(run.number(ALONE), noise_cap([run]))
        total, prompts = run.number(SURPRISES), run.array(BY_PROMPT).tolist()
        yield "prompts with expected surprises", float(abs(len(prompts) - run.B_E))
        expected = math.fsum(prompts)
        yield "expected_surprises", beyond(abs(total - expected) / (expected or 1.0), SUMMING_TOLERANCE)


CHECK = identity(
    "surprises_are_counted",
    "expected surprises are those of the responses' first tokens off the likeliest path, summed over prompts",
    "every surprise of a response counted instead of its first, or a sum over other prompts",
    ("asked", SURPRISES, ALONE, BY_PROMPT, *CAP_NEEDS),
    discrepancies,
    not_counted_again,
)
