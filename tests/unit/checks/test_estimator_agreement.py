"""Two estimators of one derivative: numbers of one under both names are no agreement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_entropy.checks.estimator_agreement import CHECK
from tests.simulated_runs import SHARE, simulated


def test_one_estimators_numbers_under_both_names_fail() -> None:
    runs = simulated([32] * 15)
    assert CHECK.check(runs, alpha=SHARE).verdict == "pass"
    copied = [replace(runs[0], diagnostics={**runs[0].diagnostics, "reinforce_loo": runs[0].per_prompt}), *runs[1:]]
    outcome = CHECK.check(copied, alpha=SHARE)
    assert outcome.verdict == "fail"
    assert "one estimator's numbers are recorded under both names" in outcome.message()


def test_derivatives_of_0_are_equal() -> None:
    still = [
        replace(run, per_prompt=[0.0] * 32, diagnostics={**run.diagnostics, "reinforce_loo": [0.0] * 32})
        for run in simulated([32] * 15)
    ]
    assert CHECK.check(still, alpha=SHARE).verdict != "fail"
    assert not np.any(still[0].per_prompt)
