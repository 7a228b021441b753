"""Every run draws its own prompts and responses."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import Discrepancy, identity, without_replacement
from pytest_entropy.records.measured import Measured

# The first FIRST prompts of two runs are compared where more than MANY orders of them are possible.
FIRST, MANY = 16, 1e12


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield how many runs repeat another run's seed, or another run's first prompts in the same order.

    First prompts are compared only of runs with so many prompts that chance does not repeat their order.
    """
    first = [run.number("agreement.first_prompts") for run in runs if not run.is_single_batch and _many_orders(run)]
    seeds = {run.seed for run in runs}
    yield "runs drawn alike", float(len(runs) - len(seeds) + len(first) - len(set(first)))


def _many_orders(run: Measured) -> bool:
    distinct = run.B_E - int(run.number("agreement.repeated"))
    return math.perm(distinct, min(FIRST, distinct)) > MANY


CHECK = identity(
    "runs_independent",
    "every run has its own seed and draws its own prompts",
    "runs drawn alike: prompts or seeds shared by two runs",
    ("agreement.first_prompts", "agreement.repeated"),
    discrepancies,
    without_replacement,
)
