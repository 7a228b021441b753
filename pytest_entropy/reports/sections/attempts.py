"""The section with what was computed again after a failure, and why each earlier attempt failed."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.records.paths import earlier_error
from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView

# Directories, and errors of each, that are shown at most, to keep the page readable.
MOST = 100


class Attempts(Section):
    """The number of attempts at each run, or update batch, that took more than one, with the errors of the earlier."""

    title, order = "Attempts", 650

    def html(self, view: ExperimentView) -> Markup | None:
        """A line per directory; None where everything was computed at the first attempt."""
        if not view.attempts:
            return None
        shown = [
            (name, count, [(earlier_error(n), reason) for n, reason in enumerate(view.earlier_errors[name][:MOST], 1)])
            for name, count in list(view.attempts.items())[:MOST]
        ]
        return fragment("attempts", attempts=shown, left_out=max(0, len(view.attempts) - MOST))


SECTION = Attempts()
