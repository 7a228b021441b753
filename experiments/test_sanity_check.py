"""Can the probe be trusted on this checkpoint?

pytest experiments/test_sanity_check.py --checkpoint C --runs 15 --be 256
"""

import math

import pytest

from pytest_entropy.checks import validation
from pytest_entropy.checks.bookkeeping import bookkeeping
from pytest_entropy.checks.summaries import sanity_check as validation_summary
from pytest_entropy.checks.update_moves import update_moves

pytestmark = pytest.mark.entropy_experiment("sanity_check")


def test_run(probe_run):
    """One measurement with the diagnostics the checks need."""
    assert math.isfinite(probe_run.delta_h1)
    assert probe_run.se_conditional is not None
    assert probe_run.diagnostics["score"]


def test_sampler_scorer_agreement(probe_runs, experiment):
    """Token by token, the scorer says what the sampler said."""
    experiment.require(validation.sampler_scorer_agreement(probe_runs.complete()))


def test_batch_invariance(probe_runs, experiment):
    """Padding, prompt sharing and pieces change nothing beyond rounding."""
    experiment.require(validation.batch_invariance(probe_runs.complete()))


def test_draws(probe_runs, experiment):
    """Sampled tokens are those that the batches' random numbers pick."""
    experiment.require(validation.draws(probe_runs.complete()))


def test_definition(probe_runs, experiment):
    """The per-prompt scalars are what the estimators' definitions give."""
    experiment.require(validation.definition(probe_runs.complete()))


def test_update_gradient(probe_runs, experiment):
    """The update's gradient is the slope of the policy-gradient loss, and there is one."""
    runs = probe_runs.complete()
    experiment.require(validation.update_gradient(runs))
    experiment.require(update_moves(runs))


def test_update_direction(probe_runs, experiment):
    """The update direction is a real optimizer's step."""
    experiment.require(validation.update_direction(probe_runs.complete()))


def test_bookkeeping(probe_runs, experiment):
    """Reported numbers follow from the scalars, responses end properly, E and U are disjoint."""
    replaced = experiment.config.prompts.with_replacement
    experiment.require(bookkeeping(probe_runs.complete(), with_replacement=replaced))


@pytest.mark.entropy_check
def test_score_identity(probe_runs, experiment):
    """The mean directional score is zero."""
    experiment.require(validation.score_identity(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_surprisal_identity(probe_runs, experiment):
    """Sampled tokens follow the scored distribution."""
    experiment.require(validation.surprisal_identity(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_sampler_alternatives(probe_runs, experiment):
    """No named wrong sampler (temperature, top-k, top-p, penalties) explains the tokens better."""
    experiment.require(validation.sampler_alternatives(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_estimator_agreement(probe_runs, experiment):
    """Two estimators of one gradient agree on the same rollouts."""
    experiment.require(validation.estimator_agreement(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_first_order_accuracy(probe_runs, experiment):
    """δH₁ is the slope of the entropy itself, by importance sampling along the same direction."""
    experiment.require(validation.first_order_accuracy(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_se_calibration(probe_runs, experiment):
    """The standard error is the spread of repeated measurements."""
    experiment.require(
        validation.se_calibration(probe_runs.complete(), alpha=experiment.alpha, rng=experiment.rng("calibration"))
    )


def test_success_rate(probe_runs, experiment):
    """Every planned run succeeded; the summary is written either way."""
    experiment.record(validation_summary.summary(probe_runs))
    experiment.conclude(*validation_summary.conclusion(probe_runs))
    probe_runs.complete()
