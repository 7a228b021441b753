"""The section on the update batch that all runs share."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.reports.pages import fragment
from pytest_entropy.reports.sections.base import Section
from pytest_entropy.reports.view import ExperimentView

FIELDS = (
    "rule", "objective", "eta", "eta_source", "reward_mean", "reward_std", "degenerate_groups", "gradient_norm",
    "direction_norm", "entropy_mean", "length_mean", "mapping", "sampling", "ignored_generation_config", "end_tokens",
    "parameters",
)  # fmt: skip


class UpdateBatchSection(Section):
    """The step, the rewards, and the mapping of the optimizer's states."""

    title, order = "Update batch", 1100

    def html(self, view: ExperimentView) -> Markup | None:
        """The record of the update batch; None if runs do not share one."""
        if view.update is None:
            return None
        return fragment("update_batch", rows={name: getattr(view.update, name) for name in FIELDS})


SECTION = UpdateBatchSection()
