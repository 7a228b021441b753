"""``comparison.json``: the comparison of an experiment with a baseline, a row per quantity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored
from pytest_entropy.stats.outcome import CheckOutcome, Verdict


@dataclass(frozen=True, kw_only=True)
class SideErrors:
    """Both standard errors of one side's delta_h1: for its update batch, and over update batches where recorded."""

    se_conditional: float | None = None
    se_total: float | None = None

    __pydantic_config__: ClassVar = STRICT


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
        errors_before, errors_after: both standard errors of the two values; None of other quantities than delta_h1.
    """

    quantity: str
    rule: str
    before: float | None
    after: float | None
    margin: float | None
    outcome: CheckOutcome
    scope: str = ""
    word: str = ""
    errors_before: SideErrors | None = None
    errors_after: SideErrors | None = None

    __pydantic_config__: ClassVar = STRICT


@dataclass(frozen=True, kw_only=True)
class Comparison(Stored):
    """The comparison of an experiment with a baseline.

    Attributes:
        baseline: the baseline's name.
        pairing: how many runs have a counterpart of the same seed and B_E, in words.
        missing: why nothing was compared; None if something was.
        quantities: a row per compared quantity.
        differences: what differs between the baseline and now besides packages, in words: checkpoint, settings, data;
            None in files of versions that did not look.
        packages: the packages whose version differs, such as ``torch 2.12 → 2.13``.
    """

    schema_version: int = 1
    baseline: str
    pairing: str = ""
    missing: str | None = None
    quantities: list[QuantityRow]
    differences: list[str] | None = None
    packages: list[str] = field(default_factory=list)

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar = STRICT

    def with_verdict(self, verdict: str) -> list[str]:
        """The names of the quantities whose verdict is ``verdict``: ``pass``, ``fail`` or ``inconclusive``."""
        return [row.quantity for row in self.rows(verdict)]

    def rows(self, verdict: str) -> list[QuantityRow]:
        """The rows whose verdict is ``verdict``: ``pass``, ``fail`` or ``inconclusive``."""
        return [row for row in self.quantities if row.outcome.verdict == verdict]

    @property
    def overall(self) -> Verdict:
        """The verdict of the whole comparison: that of its worst quantity."""
        found = {row.outcome.verdict for row in self.quantities}
        return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"
