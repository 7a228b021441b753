"""Can the probe be trusted on this checkpoint?

pytest experiments/test_sanity_check.py --checkpoint C --runs 15 --be 256
"""

import math

import pytest

from pytest_entropy import registry
from pytest_entropy.checks.base import Check
from pytest_entropy.checks.batch_invariance import CHECK as batch_invariance
from pytest_entropy.checks.definition import CHECK as definition
from pytest_entropy.checks.draws import CHECK as draws
from pytest_entropy.checks.estimator_agreement import CHECK as estimator_agreement
from pytest_entropy.checks.first_order_accuracy import CHECK as first_order_accuracy
from pytest_entropy.checks.sampler_alternatives import CHECK as sampler_alternatives
from pytest_entropy.checks.sampler_scorer_agreement import CHECK as sampler_scorer_agreement
from pytest_entropy.checks.score_identity import CHECK as score_identity
from pytest_entropy.checks.se_calibration import CHECK as se_calibration
from pytest_entropy.checks.summaries import sanity_check
from pytest_entropy.checks.surprisal_identity import CHECK as surprisal_identity
from pytest_entropy.checks.update_direction import CHECK as update_direction
from pytest_entropy.checks.update_gradient import CHECK as update_gradient
from pytest_entropy.checks.update_moves import CHECK as update_moves
from pytest_entropy.plugin.experiment import Experiment, Runs
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain

pytestmark = pytest.mark.entropy_experiment("sanity_check")


def test_run(probe_run: RunRecord, experiment: Experiment) -> None:
    """One measurement with the diagnostics that checks.depth gives it, so that no check lacks a run unseen."""
    assert math.isfinite(probe_run.delta_h1)
    assert probe_run.se_conditional is not None
    asked = experiment.config.asked_of(probe_run.run, probe_run.B_E)
    assert probe_run.asked == list(asked)
    assert bool(probe_run.diagnostics.get("score")) == ("score" in asked)


def test_sampler_scorer_agreement(probe_runs: Runs, experiment: Experiment) -> None:
    """Token by token, the scorer says what the sampler said."""
    experiment.require(sampler_scorer_agreement.check(probe_runs.complete()))


def test_batch_invariance(probe_runs: Runs, experiment: Experiment) -> None:
    """Padding, prompt sharing and pieces change nothing beyond rounding."""
    experiment.require(batch_invariance.check(probe_runs.complete()))


def test_draws(probe_runs: Runs, experiment: Experiment) -> None:
    """Sampled tokens are those that the batches' random numbers pick."""
    experiment.require(draws.check(probe_runs.complete()))


def test_definition(probe_runs: Runs, experiment: Experiment) -> None:
    """The per-prompt scalars are what the estimators' definitions give."""
    experiment.require(definition.check(probe_runs.complete()))


def test_update_gradient(probe_runs: Runs, experiment: Experiment) -> None:
    """The update's gradient is the slope of the policy-gradient loss, and there is one."""
    runs = probe_runs.complete()
    experiment.require(update_gradient.check(runs))
    experiment.require(update_moves.check(runs))


def test_update_direction(probe_runs: Runs, experiment: Experiment) -> None:
    """The update direction is a real optimizer's step."""
    experiment.require(update_direction.check(probe_runs.complete()))


@pytest.mark.parametrize("identity", registry.names("bookkeeping"))
def test_bookkeeping(probe_runs: Runs, experiment: Experiment, identity: str) -> None:
    """Reported numbers follow from the scalars, responses end properly, E and U are disjoint: each by itself."""
    check, runs = registry.get("bookkeeping", identity, Check), probe_runs.complete()
    replaced = experiment.config.prompts.with_replacement
    if reason := check.inapplicable(runs, with_replacement=replaced):
        pytest.skip(reason)
    experiment.require(check.check(runs, with_replacement=replaced))


@pytest.mark.entropy_check
def test_score_identity(probe_runs: Runs, experiment: Experiment) -> None:
    """The mean directional score is zero."""
    experiment.require(score_identity.check(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_surprisal_identity(probe_runs: Runs, experiment: Experiment) -> None:
    """Sampled tokens follow the scored distribution."""
    experiment.require(surprisal_identity.check(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_sampler_alternatives(probe_runs: Runs, experiment: Experiment) -> None:
    """No named wrong sampler (temperature, top-k, top-p, penalties) explains the tokens better."""
    experiment.require(sampler_alternatives.check(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_estimator_agreement(probe_runs: Runs, experiment: Experiment) -> None:
    """Two estimators of one gradient agree on the same rollouts."""
    experiment.require(estimator_agreement.check(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_first_order_accuracy(probe_runs: Runs, experiment: Experiment) -> None:
    """δH₁ is the slope of the entropy itself, by importance sampling along the same direction."""
    experiment.require(first_order_accuracy.check(probe_runs.complete(), alpha=experiment.alpha))


@pytest.mark.entropy_check
def test_se_calibration(probe_runs: Runs, experiment: Experiment) -> None:
    """The standard error is the spread of repeated measurements."""
    runs = probe_runs.complete()
    experiment.require(se_calibration.check(runs, alpha=experiment.alpha, rng=experiment.rng("calibration")))


# Checks of other packages (entry point pytest_entropy.checks, or the hook); without any there is no such item.
if others := registry.added("checks"):

    @pytest.mark.entropy_check
    @pytest.mark.parametrize("name", others)
    def test_check(probe_runs: Runs, experiment: Experiment, name: str) -> None:
        """A check that another package has registered."""
        check, runs, settings = registry.get("checks", name, Check), probe_runs.complete(), experiment.config
        replaced = settings.prompts.with_replacement
        if reason := check.inapplicable(runs, with_replacement=replaced):
            pytest.skip(reason)
        outcome = check.check(
            runs,
            alpha=experiment.alpha,
            rng=experiment.rng(name),
            with_replacement=replaced,
            confidence=settings.checks.confidence,
            tolerance=settings.checks.tolerance,
        )
        experiment.require(outcome)


def test_success_rate(probe_runs: Runs, experiment: Experiment) -> None:
    """Every planned run succeeded; the summary is written either way."""
    experiment.record(plain(sanity_check.validation_summary(probe_runs.results, probe_runs.failures)))
    experiment.conclude(*sanity_check.conclusion(probe_runs.results, probe_runs.planned))
    probe_runs.complete()
