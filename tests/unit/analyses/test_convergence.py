"""Batch scaling with an estimator that learns within its batch: its spread depends on B_E, bug or not."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_entropy.analyses import convergence as analysis
from tests.unit.results.stored import result


def runs_of(estimator, *, power=0.0, shift=0.0):
    """Scalars of mean -100 + shift / B_E whose spread goes as B_E ** power."""
    rng = np.random.default_rng(0)
    sizes = [size for size in (8, 32, 128) for _ in range(4)]
    return [
        result(B, run, -100 + shift / B + 20 * B**power * rng.standard_normal(B), estimator=estimator)
        for run, B in enumerate(sizes)
    ]


@pytest.mark.parametrize(("estimator", "verdict"), [("rao_blackwell", "fail"), ("action_value", "inconclusive")])
def test_a_spread_that_depends_on_the_batch_is_red_unless_the_estimator_learns_from_it(estimator, verdict):
    slope = analysis.se_slope(runs_of(estimator, power=-1.0), alpha=1e-3, rng=np.random.default_rng(1))
    assert slope.verdict == verdict
    settings = {"alpha": 1e-3, "confidence": 0.95, "tolerance": 0.1, "rng": np.random.default_rng(2)}
    scaling, record = analysis.convergence(runs_of(estimator, shift=-2000.0), **settings)
    assert scaling.outcome.verdict == record["check"]["verdict"] == verdict
    if verdict == "inconclusive":
        assert "take probe.estimator rao_blackwell" in slope.message()
        assert record["verdict"] == "inconclusive"
        assert "take probe.estimator rao_blackwell" in record["reason"]


def test_a_learning_estimator_may_pass():
    slope = analysis.se_slope(runs_of("action_value"), alpha=1e-3, rng=np.random.default_rng(1))
    assert slope.verdict == "pass"
