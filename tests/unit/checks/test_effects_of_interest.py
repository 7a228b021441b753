"""The effect that each check has to be able to see is that of a named fault, estimated from the runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.diagnostics import CHECKED
from tests.unit.checks.registered import CHECKS, judged
from tests.unit.reports.stored import result

TILT = 1 / 0.7 - 1


def runs_of(count: int, prompts: int, mean: float = -100.0) -> list[RunRecord]:
    rng = np.random.default_rng(0)
    known = {"expected_surprises": 1e4, "asked": list(CHECKED)}
    runs = [result(prompts, n, mean + 50 * rng.standard_normal(prompts), **known) for n in range(count)]
    return [
        replace(run, diagnostics={"score": [0.0] * prompts}, arrays={"surprisal_sd": np.full(9, 0.5)}) for run in runs
    ]


def test_effects_are_those_of_named_faults() -> None:
    runs = runs_of(4, 200)
    # On the scale of delta_h1.
    mean = runs[0].eta * float(np.mean([run.per_prompt for run in runs]))
    effects = {
        "first_order_accuracy": -mean,
        "eta_sweep_intercept": -mean,
        "estimator_agreement": -2 * mean,
        "score_identity": -mean * TILT,
        "surprisal_identity": 0.5 * TILT,
        "se_calibration": 3.0,
        "se_slope": 1.0,
    }
    for name, effect in effects.items():
        assert CHECKS[name].effect_of_interest(runs) == pytest.approx(effect), name


def test_an_update_that_moves_nothing_has_no_such_effect() -> None:
    still = [
        replace(run, per_prompt=[0.0] * 8, diagnostics={"score": [0.0] * 8}, arrays={"surprisal_sd": np.zeros(3)})
        for run in runs_of(1, 8)
    ]
    names = ("first_order_accuracy", "estimator_agreement", "score_identity", "surprisal_identity")
    assert [CHECKS[name].effect_of_interest(still) for name in names] == [None] * 4
    assert judged("score_identity", still).verdict == "inconclusive"
