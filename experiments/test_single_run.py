"""One clean measurement.

pytest experiments/test_single_run.py --checkpoint C --be 256 --bu 32
"""

import math

import pytest

from pytest_entropy.checks.bookkeeping import bookkeeping
from pytest_entropy.checks.summaries import eta_sweep
from pytest_entropy.checks.summaries import single_run as single

pytestmark = pytest.mark.entropy_experiment("single_run")


def test_run(probe_run):
    """δH₁ with its standard error, and a sampler and a scorer that agree."""
    assert math.isfinite(probe_run.delta_h1)
    assert probe_run.se_conditional is not None


def test_result(probe_runs, experiment):
    """The measurement means something: the update moves, and sampler and scorer agree."""
    runs = probe_runs.complete()
    checks = experiment.config.checks
    record = single.record(runs, confidence=checks.confidence, tolerance=checks.tolerance)
    experiment.record(record)
    experiment.conclude(*single.conclusion(runs, record, confidence=checks.confidence))
    experiment.require(single.agreement(runs))
    experiment.require(bookkeeping(runs, with_replacement=experiment.config.prompts.with_replacement))
    experiment.require(single.update_moves(runs))


@pytest.mark.entropy_check
def test_first_order(probe_runs, experiment):
    """The entropy itself starts along the update as δH₁ says; how far that holds is in the report."""
    run = probe_runs.complete()[0]
    if eta_sweep.sweep_of(run) is None:
        pytest.skip("no eta sweep: eta_sweep.multiples is empty, or probe.mode is u_statistic")
    experiment.require(eta_sweep.intercept_check(run, alpha=experiment.alpha))
