"""Everything there is to see about a few small runs: DEBUG logs, all estimators, gradients on request.

pytest experiments/test_debug.py --checkpoint C --be-values 16,32 --save-gradients
"""

import math

import pytest

from pytest_entropy.checks.summaries import debug
from pytest_entropy.plugin.experiment import Experiment, Runs
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain

pytestmark = pytest.mark.entropy_experiment("debug")


def test_run(probe_run: RunRecord) -> None:
    """One measurement with all estimators."""
    assert math.isfinite(probe_run.delta_h1)
    # The configured estimator's own scalars are the run's.
    assert {probe_run.estimator, *probe_run.diagnostics} >= {"score", "reinforce_loo"}


def test_report(probe_runs: Runs, experiment: Experiment) -> None:
    """The estimators side by side, and what --save-gradients wrote agrees with δH₁."""
    runs = probe_runs.complete()
    checks = experiment.config.checks
    saved = debug.saved_gradients(runs, experiment.directory) if experiment.config.save_gradients else []
    report = debug.debug_report(runs, saved, confidence=checks.confidence, tolerance=checks.tolerance)
    experiment.record(plain(report))
    experiment.conclude(*debug.conclusion(runs, confidence=checks.confidence))
    for entry in saved:
        assert entry.delta_h1_from_files == pytest.approx(entry.delta_h1, rel=1e-3)
