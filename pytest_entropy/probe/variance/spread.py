"""The part of a run's record that holds its variance with the update batch random as well."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_entropy.records.diagnostics import VarianceParts


@dataclass(frozen=True)
class Spread:
    """The variance of delta_h1 over both batches, in squared units of delta_h1; None where it was not computed.

    Attributes:
        variance_total: the unbiased estimate, which may be negative.
        se_total: root of ``variance_total``, or of its larger part V_X or V_Y where that is larger; never negative.
        parts: V_X, V_Y and T, from which ``variance_total`` is computed.
        notes: remarks for the reader of a report.
    """

    variance_total: float | None = None
    se_total: float | None = None
    parts: VarianceParts = VarianceParts()
    notes: tuple[str, ...] = ()
