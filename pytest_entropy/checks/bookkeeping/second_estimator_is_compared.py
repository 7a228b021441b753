"""The recorded scalars of reinforce_loo are those that were compared with its definition, not another estimator's."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_entropy.checks.base import Given, Runs
from pytest_entropy.checks.bookkeeping.base import (
    Discrepancy,
    definition_not_asked,
    identity,
    of_two_batches,
    with_definition,
)
from pytest_entropy.records.measured import Measured

NAME = "reinforce_loo"
RECORDED, PROMPT, COMPARED = f"diagnostics.{NAME}", "agreement.compared_prompt", "agreement.compared_loo"


def not_compared(runs: Runs, given: Given) -> str:
    """The reason why the identity does not apply; "" where it does."""
    if reason := definition_not_asked(runs, given):
        return reason
    return "" if _second(runs) else f"{NAME} was not computed beside another estimator"


def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
    """Yield the relative discrepancy of one prompt's recorded scalar from the one that was compared, for each run."""
    for run in _second(runs):
        compared, prompt = run.number(COMPARED), int(run.number(PROMPT))
        value = float(run.scalars(RECORDED)[prompt]) if 0 <= prompt < run.B_E else math.inf
        yield f"{NAME} of a prompt", min(1.0, abs(value - compared) / (abs(compared) or 1.0))


def _second(runs: Runs) -> list[Measured]:
    return [run for run in with_definition(of_two_batches(runs)) if run.was_asked(NAME) and run.estimator != NAME]


CHECK = identity(
    "second_estimator_is_compared",
    f"the recorded scalars of {NAME} are those that were compared with its definition",
    f"one estimator's numbers under both names, or other numbers than those computed in the column {NAME}",
    ("asked", RECORDED, PROMPT, COMPARED),
    discrepancies,
    not_compared,
)
