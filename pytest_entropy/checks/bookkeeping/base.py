"""What identities share: how they are judged, which runs they apply to, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pytest_entropy import registry
from pytest_entropy.checks.base import Check, Given, Runs, exact
from pytest_entropy.records.collection import uncollected
from pytest_entropy.records.measured import Measured
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome

KIND = "bookkeeping"
SUMMING_TOLERANCE = 1e-4
NOISE_FLOOR = 1e-9
# (name of the compared number, difference of the two sides, relative or as a count)
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
    """An exact check that discrepancies are rounding; its message lists those above the noise floor, and ``cause``.

    Args:
        name: the name of its file, or of its entry point.
        claim: the identity in words.
        cause: the likely cause of a violation.
        needs: the measured fields that it reads.
        discrepancies: maps (runs, given) to the discrepancies, each with a name for the message.
        applies: maps (runs, given) to the reason why the identity does not apply; "" where it does.
    """

    def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
        named = list(discrepancies(runs, given))
        outcome = exact(
            check, [discrepancy for _, discrepancy in named], noise_floor=NOISE_FLOOR, unit="relative, or counts"
        )
        if outcome.verdict != "fail":
            return outcome
        worst: dict[str, float] = {}
        for number, discrepancy in named:
            if not abs(discrepancy) <= NOISE_FLOOR:
                worst[number] = max(worst.get(number, abs(discrepancy)), abs(discrepancy))
        listed = ", ".join(
            f"{number} ({discrepancy:.3g})" for number, discrepancy in sorted(worst.items(), key=lambda item: -item[1])
        )
        return replace(outcome, reason=f"these do not follow from the record: {listed}")

    return Check(name=name, claim=claim, likely_causes=cause, needs=needs, judge=judge, applies=applies)


def recorded(
    *fields: str, of: Callable[[Runs], Sequence[Measured]] = list
) -> Callable[[Runs, Given], Iterator[Discrepancy]]:
    """Discrepancies that the run itself has measured: each of ``fields`` is 0 in the runs the identity concerns.

    Args:
        fields: measured fields, such as ``agreement.copies``; messages name them by their last part.
        of: selects the runs that the identity concerns; all of them if left out.
    """

    def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
        for run in of(runs):
            for name in fields:
                yield name.rpartition(".")[2], run.number(name)

    return discrepancies


def read_again(name: str, claim: str, cause: str, field: str) -> Check:
    """An identity between what is in use and a second, plain reading of the checkpoint's files.

    It does not apply where the files, or a part of them, were not read a second time and nothing differs.

    Args:
        name, claim, cause: as in :func:`identity`.
        field: of :class:`~pytest_entropy.records.second_reading.SecondReading`.
    """
    number = f"reading.{field}"

    def discrepancies(runs: Runs, given: Given) -> Iterator[Discrepancy]:
        for run in runs:
            yield field, run.number(number)
            yield from run.reading_differs.get(field, {}).items()

    def applies(runs: Runs, given: Given) -> str:
        why = {run.reading_unread[field] for run in runs if field in run.reading_unread}
        if not why or any(run.has(number) and run.number(number) > NOISE_FLOOR for run in runs):
            return ""
        return f"not read a second time: {min(why)}"

    return identity(name, claim, cause, (number,), discrepancies, applies)


def identities() -> list[Check]:
    """All registered identities, by name."""
    return [registry.get(KIND, name, Check) for name in registry.names(KIND)]


@uncollected()
def judged(runs: Sequence[RunRecord], *, with_replacement: bool) -> list[CheckOutcome]:
    """The outcomes of all identities that apply to ``runs``: first those that passed, then those that failed.

    Args:
        runs: records of one experiment's runs.
        with_replacement: whether prompts were drawn with replacement.
    """
    outcomes = [
        check.check(runs, with_replacement=with_replacement)
        for check in identities()
        if not check.inapplicable(runs, with_replacement=with_replacement)
    ]
    return sorted(outcomes, key=lambda outcome: ORDER.index(outcome.verdict))


def beyond(discrepancy: float, tolerance: float) -> float:
    """The discrepancy where it exceeds the tolerance, else 0.

    Args:
        discrepancy, tolerance: in one unit.
    """
    return 0.0 if discrepancy <= tolerance else discrepancy


def scaled(run: Measured) -> np.ndarray:
    """eta s_n ``[B_E]`` in nats, the values whose mean is delta_h1."""
    return np.asarray(run.number("eta") * run.scalars("per_prompt"))


def size_of(values: np.ndarray) -> float:
    """Mean absolute value, the scale of an identity's relative discrepancies; 1 where all values are 0."""
    return float(np.abs(values).mean()) or 1.0


def with_definition(runs: Runs) -> list[Measured]:
    """The runs that were asked for the diagnostic ``definition``, which also compares rows, sizes and rewards."""
    return [run for run in runs if run.was_asked("definition")]


def runs_that_read(runs: Runs) -> list[Measured]:
    """The runs with companion reads, and those that do not say whether they have any."""
    return [run for run in runs if run.companions is None or run.companions > 0]


def reading(runs: Runs, given: Given) -> str:
    """The reason why an identity of companion reads does not apply: no run has any; "" where one may have."""
    return "" if runs_that_read(runs) else "no companions were read"


def definition_not_asked(runs: Runs, given: Given) -> str:
    """The reason why an identity does not apply: no run was asked for ``definition``; "" where one was."""
    return "" if with_definition(runs) else "no run was asked for the diagnostic definition"


def two_batches(runs: Runs, given: Given) -> str:
    """The reason why an identity of E and U does not apply: all runs are single batches; "" where one is not."""
    return "a single batch is its own update batch" if all(run.is_single_batch for run in runs) else ""


def single_batches(runs: Runs, given: Given) -> str:
    """The reason why an identity of single batches does not apply: no run is one; "" where one is."""
    return "" if any(run.is_single_batch for run in runs) else "probe.mode is two_batch"


def of_two_batches(runs: Runs) -> list[Measured]:
    """The runs whose entropy batch is not their update batch."""
    return [run for run in runs if not run.is_single_batch]


def without_replacement(runs: Runs, given: Given) -> str:
    """The reason why prompts may repeat: they were drawn with replacement; "" where they were not."""
    return "prompts were drawn with replacement" if given.with_replacement else ""
