"""The measured entropy change of an experiment, as its summary and the pages over sessions show it."""

from __future__ import annotations

from pytest_entropy.records.summary import MeasuredChange
from pytest_entropy.reports.tables import size_table
from pytest_entropy.reports.view import ExperimentView


def measured_change(view: ExperimentView) -> MeasuredChange | None:
    """delta_h1 at the largest B_E with both its errors; None without a run."""
    sizes = size_table(view).sizes
    if not sizes:
        return None
    row = sizes[-1]
    return MeasuredChange(
        B_E=row.B_E,
        runs=row.runs,
        delta_h1=row.mean.value,
        unit=view.unit,
        mode="u_statistic" if row.mean.single_batch else "two_batch",
        se_conditional=row.mean.se,
        se_total=None if row.mean.single_batch else row.mean.se_total,
        note=row.mean.note,
    )
