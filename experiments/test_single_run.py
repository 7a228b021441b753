"""One clean measurement.

pytest experiments/test_single_run.py --checkpoint C --be 256 --bu 32
"""

import math

import pytest

from pytest_entropy.checks import bookkeeping
from pytest_entropy.checks.eta_sweep_intercept import CHECK as eta_sweep_intercept
from pytest_entropy.checks.sampler_scorer_agreement import CHECK as sampler_scorer_agreement
from pytest_entropy.checks.summaries import single_run
from pytest_entropy.checks.summaries.target_error import reaches_target
from pytest_entropy.checks.update_moves import CHECK as update_moves
from pytest_entropy.plugin.experiment import Experiment, Runs
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain

pytestmark = pytest.mark.entropy_experiment("single_run")


def test_run(probe_run: RunRecord) -> None:
    """δH₁ with its standard error, and a sampler and a scorer that agree."""
    assert math.isfinite(probe_run.delta_h1)
    assert probe_run.se_conditional is not None


def test_result(probe_runs: Runs, experiment: Experiment) -> None:
    """The measurement means something: the update moves, and sampler and scorer agree."""
    runs = probe_runs.complete()
    checks = experiment.config.checks
    analysis = single_run.single_run_analysis(
        runs, confidence=checks.confidence, tolerance=checks.tolerance, batch=experiment.config.batch_config
    )
    experiment.record(plain(analysis))
    experiment.conclude(*single_run.conclusion(runs, analysis.eta_sweep, confidence=checks.confidence))
    experiment.require(sampler_scorer_agreement.check(runs))
    for outcome in bookkeeping.judged(runs, with_replacement=experiment.config.prompts.with_replacement):
        experiment.require(outcome)
    experiment.require(update_moves.check(runs))


def test_precision(probe_runs: Runs, experiment: Experiment) -> None:
    """The error is what ``--entropy-target-se`` asks for, if it is given, and at most half of δH₁.

    Where it is not, the result says with what options it would be.
    """
    runs, batch = probe_runs.complete(), experiment.config.batch_config
    if batch.target_se is not None:
        experiment.require(reaches_target(runs, batch.target_se, updates=batch.updates))
    experiment.require(single_run.precision(runs))


@pytest.mark.entropy_check
def test_first_order(probe_runs: Runs, experiment: Experiment) -> None:
    """The entropy itself starts along the update as δH₁ says; how far that holds is in the report."""
    first = probe_runs.complete()[:1]
    if reason := eta_sweep_intercept.inapplicable(first):
        pytest.skip(reason)
    experiment.require(eta_sweep_intercept.check(first, alpha=experiment.alpha))
