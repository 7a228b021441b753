"""The section with all estimators side by side, the parts of the variance, and the norms of the update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pytest_entropy.reports.figures.estimators import (
    estimators_figure,
    estimators_of,
    variance_parts_figure,
    variance_parts_of,
)
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.sections.figures import in_rows
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import format_measure


@dataclass(frozen=True)
class SideBySide:
    """A table with a column per run: its first column's name, the runs' labels, and the rows' texts."""

    of: str
    runs: Sequence[str]
    rows: Sequence[Sequence[str]]


class Estimators(Section):
    """What debugging compares: estimators on the same responses, variances, norms."""

    title, order = "Estimators, variance and norms", 350

    def html(self, view: ExperimentView) -> Markup | None:
        """Figures and tables; None where the analysis compares no estimators."""
        estimators, parts = estimators_of(view), variance_parts_of(view.runs)
        if not estimators:
            return None
        plots = [plot for plot in (estimators_figure(view), variance_parts_figure(view)) if plot is not None]
        tables = [_table("estimator", estimators, _measure)]
        if parts:
            tables.append(_table("variance", parts, lambda value: f"{value:.3g}"))
        return fragment("estimators", plots=in_rows(plots), tables=tables, update=view.update, unit=view.unit)


def _table(of: str, runs: Mapping[str, Mapping[str, Any]], text: Any) -> SideBySide:
    names = list(dict.fromkeys(name for one in runs.values() for name in one))
    rows = [[name, *(text(one[name]) if name in one else "-" for one in runs.values())] for name in names]
    return SideBySide(of, list(runs), rows)


def _measure(measure: Mapping[str, Any]) -> str:
    return "-" if measure.get("mean") is None else format_measure(measure["mean"], measure.get("se"))


SECTION = Estimators()
