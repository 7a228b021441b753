"""log SE against log B_E has slope -1/2 (docs/mathematics.md §6)."""

from __future__ import annotations

from pytest_entropy.checks.base import Check, Given, Runs
from pytest_entropy.stats import CheckOutcome, RunScalars, check_se_slope

OWN_UPDATES = (
    "with probe.mode u_statistic every run has an update of its own, and the error of a single batch does not follow "
    "B_E^(-1/2) at small B_E; take mode two_batch for this check"
)


def another_division(runs: Runs) -> float | None:
    """The error of the slope with one division by B_E too many or too few."""
    return 1.0


def two_batches(runs: Runs, given: Given) -> str:
    """The reason why the check does not apply to single batches: their error has no such slope; "" for two batches.

    Pseudo-values of different runs belong to different updates, which no shuffle may mix, and at small B their error
    is no multiple of B^(-1/2): 4 zeta_1 / B is too small by ((B - 2)/(B - 1))^2.
    """
    return OWN_UPDATES if any(run.is_single_batch for run in runs) else ""


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the slope of the reported standard errors on B_E."""
    data = [
        RunScalars(r.B_E, r.run, r.scalars("per_prompt"), r.number("eta"), r.number("se_conditional")) for r in runs
    ]
    return check_se_slope(
        data, alpha=given.share, rng=given.generator, effect_of_interest=another_division(runs)
    )  # fmt: skip


CHECK = Check(
    name="se_slope",
    claim="the standard error shrinks as B_E to the power -1/2",
    likely_causes="a standard error that is not of the mean: missing or doubled division by B_E, or dependent prompts",
    needs=("per_prompt", "eta", "se_conditional"),
    judge=judge,
    statistical=True,
    effect=another_division,
    applies=two_batches,
)
