"""The numbers of attempts in words: of test items that were executed again, and of runs that were computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_entropy.records.item import ItemReport

# Names in one line at most.
MOST_NAMED = 4


def executed_again(reports: Sequence[ItemReport]) -> str:
    """The items that were executed more than once, in a line; empty if there are none."""
    counts = {report.name: report.attempts for report in reports if report.attempts is not None}
    return f"executed again: {_counted(counts)}" if counts else ""


def computed_again(attempts: Mapping[str, int]) -> str:
    """The runs and update batches that took more than one attempt, in a line; empty if there are none.

    Args:
        attempts: numbers of attempts by directory.
    """
    return f"computed again after a failure: {_counted(attempts)}" if attempts else ""


def _counted(counts: Mapping[str, int]) -> str:
    """
    >>> _counted({"update": 2, "BE004_run001": 3})
    'update (2 attempts), BE004_run001 (3 attempts)'
    """
    shown = [f"{name} ({count} attempts)" for name, count in list(counts.items())[:MOST_NAMED]]
    return ", ".join(shown) + (f" and {len(counts) - MOST_NAMED} more" if len(counts) > MOST_NAMED else "")
