"""``comparison.json``: the comparison of an experiment with a baseline, a row per quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored
from pytest_entropy.stats.outcome import CheckOutcome


@dataclass(frozen=True, kw_only=True)
class QuantityRow:
    """The comparison of one quantity.

    Attributes:
        quantity: ``delta_h1``, ``entropy``, or ``signal_to_noise``.
        rule: the expression of the tolerance, as the user gave it.
        before, after: its value in the baseline and now; None if it could not be compared.
        margin: the largest tolerated difference, in the outcome's unit.
        outcome: the confidence interval of the difference, and the verdict.
        scope: the batches over which the interval holds; empty for entropy, which involves no update.
        word: the verdict in one word.
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
    """The comparison of an experiment with a baseline.

    Attributes:
        baseline: the baseline's name.
        pairing: how many runs have a counterpart of the same seed and B_E, in words.
        missing: why nothing was compared; None if something was.
        quantities: a row per compared quantity.
    """

    schema_version: int = 1
    baseline: str
    pairing: str = ""
    missing: str | None = None
    quantities: list[QuantityRow]

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar = STRICT

    def with_verdict(self, verdict: str) -> list[str]:
        """The names of the quantities whose verdict is ``verdict``: ``pass``, ``fail`` or ``inconclusive``."""
        return [row.quantity for row in self.quantities if row.outcome.verdict == verdict]
