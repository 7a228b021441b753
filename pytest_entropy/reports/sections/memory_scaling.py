"""The section with memory scaling's answer: figures of memory and time, and what one more of each size costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from pytest_entropy.records.memory_probe import cost_in_words
from pytest_entropy.reports.figures.memory_scaling import COUNTED, memory_scaling_figures
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.sections.figures import in_rows
from pytest_entropy.reports.view import ExperimentView

ONE_MORE = {"B_E": "prompt in E", "G": "response to each prompt", "length": "token of mean length"}
HEAD = ("one more", "costs", "memory counted", "largest run, seen / forecast")


class MemoryScalingSection(Section):
    """Memory and time against B_E, G and length; other experiments have none."""

    title, order = "Memory and time by size", 250

    def html(self, view: ExperimentView) -> Markup | None:
        """Figures and table; None without the analysis."""
        drawn = list(memory_scaling_figures(view))
        if not drawn:
            return None
        rows = [_row(fit) for fit in view.analysis["fits"] if fit["slope"] is not None]
        return fragment("memory_scaling", plots=in_rows(drawn), head=HEAD, rows=rows)


def _row(fit: Mapping[str, Any]) -> list[str]:
    memory = fit["quantity"] == "memory"
    ratio = fit["seen_over_forecast"]
    return [
        ONE_MORE.get(fit["axis"], fit["axis"]),
        cost_in_words(fit["quantity"], fit["slope"]),
        COUNTED.get(fit["source"], fit["source"]) if memory else "-",
        "-" if ratio is None else f"{ratio:.2f}",
    ]


SECTION = MemoryScalingSection()
