"""The section with the outcome of each check, as a row of prose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.reach import left_open
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.stats import CheckOutcome

# Fewer rows than this are not worth folding.
FEWEST_FOLDED = 4


@dataclass(frozen=True)
class Rows:
    """Rows of checks in front, and those folded behind a line; what the line says."""

    front: Sequence[CheckOutcome]
    folded: Sequence[CheckOutcome]
    line: str


class Checks(Section):
    """A row per check: its claim, its verdict, what was seen, and, unless it passed, why."""

    title, order = "Checks", 800

    def html(self, view: ExperimentView) -> Markup | None:
        """The rows, failed checks first; None without checks."""
        if not view.checks:
            return None
        return fragment("checks", rows=_rows(list(view.checks.values())), left_open=left_open(view))


def _rows(checks: Sequence[CheckOutcome]) -> Rows:
    """Failed checks, then undecided ones, then those with an error rate; exact ones that passed are folded."""
    exact = [check for check in checks if check.verdict == "pass" and check.p_value is None]
    folded = exact if len(exact) >= FEWEST_FOLDED else []
    front = [check for check in checks if check not in folded]
    by_verdict = [check for verdict in ("fail", "inconclusive", "pass") for check in front if check.verdict == verdict]
    return Rows(by_verdict, folded, f"{len(folded)} exact checks passed")


SECTION = Checks()
