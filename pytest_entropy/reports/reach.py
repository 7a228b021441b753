"""What a green experiment leaves open where no statistical check could decide."""

from __future__ import annotations

from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.settings.experiments import kind_of


def left_open(view: ExperimentView) -> str:
    """What green means where checks were made and none with an error rate decided; empty where one did.

    It names the faults that those checks would have pointed to.
    """
    checks = list(view.checks.values())
    decided = any(check.p_value is not None and check.verdict != "inconclusive" for check in checks)
    if decided or not checks or view.tone == "fail":
        return ""
    undecided = [check for check in checks if check.verdict == "inconclusive"]
    # Of convergence, the experiment's reason stands in place of causes.
    causes = dict.fromkeys(
        f"that not: {check.null}" if check.likely_causes in view.reason else check.likely_causes
        for check in undecided
        if check.likely_causes
    )
    unseen = "; ".join(causes) or "a wrong sampler, a sign or factor in the estimator, a wrong standard error"
    elsewhere = "" if kind_of(view.name).judges_trust else " here (the sanity check does)"
    return (
        "no statistical check could decide: green means that the exact comparisons agree. Not looked "
        f"for{elsewhere}, and not seen if there: {unseen}"
    )
