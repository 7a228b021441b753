"""The section on the update batch that all runs share."""

from __future__ import annotations

from markupsafe import Markup

from pytest_entropy.records.update import StoredUpdate
from pytest_entropy.reports.pages import fragment, in_plain_words
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
        rows = {name: getattr(view.update, name) for name in FIELDS}
        return fragment("update_batch", lead=_lead(view.update), rows=rows)


def _lead(update: StoredUpdate) -> str:
    """What the update batch is, in a sentence or two."""
    rule = f"update rule {update.rule}, objective {update.objective}, η = {in_plain_words(update.eta)}"
    batch = f"{len(update.prompts)} prompts give the step ({rule})."
    mean, sd, equal = update.reward_mean, update.reward_std, update.degenerate_groups
    if mean is None or sd is None or equal is None:
        return batch
    return (
        f"{batch} Rewards have mean {mean:.3g} and standard deviation {sd:.3g}; in {100 * equal:.0f} % of the "
        "groups all rewards are equal."
    )


SECTION = UpdateBatchSection()
