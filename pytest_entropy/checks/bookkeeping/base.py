"""What identities share: how they are judged, which runs they concern, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pytest_entropy import registry
from pytest_entropy.checks.base import Check, Given, Runs, exact
from pytest_entropy.records.measured import Measured
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome

KIND = "bookkeeping"
SUMMING_TOLERANCE = 1e-4
NOISE_FLOOR = 1e-9
# What is compared, and by how much the two sides differ, relative or as a count.
Discrepancy = tuple[str, float]
ORDER = ("pass", "fail", "inconclusive")


def identity(
    name: str,
    claim: str,
    cause: str,
    needs: tuple[str, ...],
    discrepancies: Callable[[Runs, Given], Iterator[Discrepancy]],
    applies: Callable[[Runs, Given], str] | None = None,
) -> Check:
    """The exact check that no discrepancy is above the noise floor; its message names those that are, and ``cause``."""

    def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
        found = list(discrepancies(runs, given))
        outcome = exact(
            check, [discrepancy for _, discrepancy in found], noise_floor=NOISE_FLOOR, unit="relative, or counts"
        )
        if outcome.verdict != "fail":
            return outcome
        worst: dict[str, float] = {}
        for what, discrepancy in found:
            if not abs(discrepancy) <= NOISE_FLOOR:
                worst[what] = max(worst.get(what, abs(discrepancy)), abs(discrepancy))
        named = ", ".join(
            f"{what} ({discrepancy:.3g})" for what, discrepancy in sorted(worst.items(), key=lambda item: -item[1])
        )
        return replace(outcome, reason=f"these do not follow: {named}")

    return Check(name=name, claim=claim, likely_causes=cause, needs=needs, judge=judge, applies=applies)


def recorded(
    *fields: str, of: Callable[[Runs], Sequence[Measured]] = list
) -> Callable[[Runs, Given], Iterator[Discrepancy]]:
    """Discrepancies that the run itself has measured: each of ``fields`` is 0 in the runs the identity concerns.

    Args:
        fields: measured fields, such as ``agreement.copies``; messages name them by their last part.
        of: the runs that the identity concerns; all of them if left out.
    """

    def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
        for run in of(runs):
            for name in fields:
                yield name.rpartition(".")[2], run.number(name)

    return discrepancies


def identities() -> list[Check]:
    """All registered identities, by name."""
    return [registry.get(KIND, name, Check) for name in registry.names(KIND)]


def judged(runs: Sequence[RunRecord], *, with_replacement: bool) -> list[CheckOutcome]:
    """The outcomes of all identities that apply to ``runs``: first those that passed, then those that failed."""
    outcomes = [
        check.check(runs, with_replacement=with_replacement)
        for check in identities()
        if not check.inapplicable(runs, with_replacement=with_replacement)
    ]
    return sorted(outcomes, key=lambda outcome: ORDER.index(outcome.verdict))


def beyond(discrepancy: float, tolerance: float) -> float:
    """The discrepancy where it is more than rounding, else 0."""
    return 0.0 if discrepancy <= tolerance else discrepancy


def scaled(run: Measured) -> np.ndarray:
    """eta s_n ``[B_E]``, of which delta_h1 is the mean."""
    return np.asarray(run.number("eta") * run.scalars("per_prompt"))


def size_of(values: np.ndarray) -> float:
    """The mean size of ``values``, which discrepancies are relative to; 1 where all are 0."""
    return float(np.abs(values).mean()) or 1.0


def looked_at(runs: Runs) -> list[Measured]:
    """The runs that were asked for the diagnostic ``definition``, which looks for rows of other prompts and sizes."""
    return [run for run in runs if run.was_asked("definition")]


def was_looked_at(runs: Runs, given: Given) -> str:
    """Why an identity does not apply where no run was to look."""
    return "" if looked_at(runs) else "no run was asked for the diagnostic definition"


def two_batches(runs: Runs, given: Given) -> str:
    """Why an identity of E and U does not apply to single batches."""
    return "a single batch is its own update batch" if all(run.is_single_batch for run in runs) else ""


def single_batches(runs: Runs, given: Given) -> str:
    """Why an identity of single batches does not apply to E and U."""
    return "" if any(run.is_single_batch for run in runs) else "probe.mode is two_batch"


def of_two_batches(runs: Runs) -> list[Measured]:
    """The runs whose entropy batch is not their update batch."""
    return [run for run in runs if not run.is_single_batch]


def without_replacement(runs: Runs, given: Given) -> str:
    """Why prompts drawn with replacement may be the same."""
    return "prompts were drawn with replacement" if given.with_replacement else ""
