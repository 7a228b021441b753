"""The section on the comparison with a baseline: each difference with its interval, in units of its margin."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes

from pytest_entropy.records.comparison import QuantityRow
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.plot import ACCENT, GREY, INK, SECOND, Plot, draw_plot
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView

COLOURS = {"pass": ACCENT, "fail": SECOND, "inconclusive": GREY}
# Effect, interval and margin of a quantity that could be compared.
Difference = tuple[QuantityRow, float, tuple[float, float], float]


class BaselineComparison(Section):
    """The differences from the baseline, with their intervals and margins."""

    title, order = "Against the baseline", 100

    def heading(self, view: ExperimentView) -> str:
        """The title with the baseline's name."""
        return f"{self.title} {view.baseline}"

    def html(self, view: ExperimentView) -> Markup | None:
        """Figure and table of the quantities, or the reason why nothing was compared; None without a comparison."""
        if view.comparison is None:
            return None
        difference = comparison_plot(view.comparison.quantities)
        return fragment("comparison", comparison=view.comparison, difference=difference)


def comparison_plot(quantities: Sequence[QuantityRow]) -> Plot | None:
    """The figure of the quantities that could be compared, None if none could."""
    rows = _compared(quantities)
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        axes.axvspan(-1, 1, color=GREY, alpha=0.25, lw=0, label="within the margin")
        axes.axvline(0, color=INK, lw=0.8)
        for place, (row, effect, ci, margin) in enumerate(reversed(rows)):
            colour = COLOURS[row.outcome.verdict]
            axes.plot([end / margin for end in ci], [place, place], color=colour, lw=1.5)
            axes.plot([effect / margin], [place], "o", color=colour, ms=6)
        axes.set_yticks(range(len(rows)), [row.quantity for row, *_ in reversed(rows)])
        reach = max(1.6, *(abs(end) / margin * 1.15 for _, _, ci, margin in rows for end in ci))
        axes.set(
            xlabel="difference in units of its margin, 95 % CI", xlim=(-reach, reach), ylim=(-0.6, len(rows) - 0.4)
        )
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))

    reading = "; ".join(
        f"{row.quantity} {row.word}, by {effect / margin:.2g} margins" for row, effect, _, margin in rows
    )
    return draw_plot("Differences from the baseline", reading, draw)


def _compared(quantities: Sequence[QuantityRow]) -> list[Difference]:
    """The quantities with an effect, an interval and a margin."""
    return [
        (row, row.outcome.effect, row.outcome.ci, row.margin)
        for row in quantities
        if row.margin and row.outcome.ci is not None and row.outcome.effect is not None
    ]


SECTION = BaselineComparison()
