"""What a run's record says of its variance with the update batch random as well."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_entropy.records.diagnostics import VarianceParts


@dataclass(frozen=True)
class Spread:
    """The variance of delta_h1 over both batches, in squared units of delta_h1; None where it was not computed.

    Attributes:
        variance_total: the unbiased estimate, which may be negative.
        se_total: its root; None where the estimate is negative.
        parts: what it is the sum of.
        notes: what a reader has to know.
    """

    variance_total: float | None = None
    se_total: float | None = None
    parts: VarianceParts = VarianceParts()
    notes: tuple[str, ...] = ()
