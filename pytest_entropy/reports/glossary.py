"""What the quantities of a report are, each in a sentence that stands where the quantity is shown."""

from __future__ import annotations

from pytest_entropy.reports.view import ExperimentView

DELTA_H1 = (
    "δH₁ is the change of the policy's entropy at the next optimizer step, to first order in the learning rate η; the "
    "entropy of a response is the sum over its tokens."
)
DELTA_H1_PER_TOKEN = (
    "δH₁ is the change of the policy's entropy per token at the next optimizer step, to first order in the learning "
    "rate η."
)
B_E = "B_E is the number of prompts of the entropy batch E, on which the entropy's gradient is measured."
B_U = "The update batch U, whose B_U prompts give the step, is another one."
SINGLE_BATCH = "Update and entropy gradient come from one batch of B_E prompts, and SE is over such batches."
SE = "SE is the standard error over the prompts of E, for this U."
READS = (
    "SE is the standard error over the prompts of E and their companions, for this U: prompts that are read and not "
    "answered, so that what prompts alone fix averages out. Estimators side by side and the η sweep are of E's "
    "responses without them."
)
OVER_U = "± over U is the standard error with U drawn anew as well; only more prompts in U, or more updates, lower it."
NEXT_STEP = (
    "The next step has an update batch of its own: its interval counts the spread over update batches twice, of U and "
    "of the next one. The drift per step is the mean over all update batches."
)
NOISE = "|SE/δH₁|, of one run, is good below 0.1, ok below 0.2, else poor."
FIRST_ORDER = (
    "First order holds where the second-order term is small beside δH₁ at the training η; at η* both are as large."
)


def of_effect(view: ExperimentView, *, both: bool) -> list[str]:
    """The sentences on delta_h1 and its errors.

    Args:
        view: an experiment with runs.
        both: whether the error over update batches is shown.
    """
    single = view.runs[0].mode == "u_statistic"
    error = READS if any(run.companions.count for run in view.runs) else SE
    batches = [SINGLE_BATCH] if single else [B_E, B_U, error, *([OVER_U, NEXT_STEP] if both else [])]
    first_order = [FIRST_ORDER] if "η*" in view.reason or "first order" in view.reason else []
    value = DELTA_H1_PER_TOKEN if view.unit.endswith("token") else DELTA_H1
    return [value, *batches, NOISE, *first_order]
