"""``comparison.json``: an experiment against its baseline, a row per quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored
from pytest_entropy.stats.outcome import CheckOutcome


@dataclass(frozen=True, kw_only=True)
class QuantityRow:
    """One quantity's comparison.

    Attributes:
        quantity: ``delta_h1``, ``entropy``, or ``signal_to_noise``.
        rule: the expression it was judged by.
        before, after: its value in the baseline and now; None where nothing could be compared.
        margin: what a difference may be, in the outcome's unit.
        outcome: the interval on the difference, and the verdict.
        scope: what the interval is over; empty for entropy, which is of no update.
        word: the verdict in a word.
    """

    quantity: str
    rule: str
    before: float | None
    after: float | None
    margin: float | None
    outcome: CheckOutcome
    scope: str = ""
    word: str = ""

    __pydantic_config__: ClassVar = STRICT


@dataclass(frozen=True, kw_only=True)
class Comparison(Stored):
    """The comparison of an experiment with the ``baseline`` of that name.

    Attributes:
        pairing: how many runs have a counterpart of the same seed and B_E, in words.
        missing: why nothing was compared; None where something was.
    """

    schema_version: int = 1
    baseline: str
    pairing: str = ""
    missing: str | None = None
    quantities: list[QuantityRow]

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar = STRICT

    def with_verdict(self, verdict: str) -> list[str]:
        """The quantities of this verdict: ``pass``, ``fail`` or ``inconclusive``."""
        return [row.quantity for row in self.quantities if row.outcome.verdict == verdict]
