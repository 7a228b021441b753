"""Does δH₁ converge as the entropy batch grows, or scale as 1/B_E, which would be a bug?

pytest experiments/test_batch_scaling.py --checkpoint C --be-values 16,32,64 --bu 32 --runs 3
"""

import math

import pytest

from pytest_entropy.checks import bookkeeping
from pytest_entropy.checks.se_slope import CHECK as se_slope
from pytest_entropy.checks.summaries.convergence import convergence
from pytest_entropy.checks.update_moves import CHECK as update_moves
from pytest_entropy.plugin.experiment import Experiment, Runs
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain

pytestmark = pytest.mark.entropy_experiment("batch_scaling")


def test_run(probe_run: RunRecord) -> None:
    """One measurement: its own prompts and responses, the experiment's one update direction."""
    assert math.isfinite(probe_run.delta_h1)
    assert probe_run.se_conditional is not None
    assert len(probe_run.per_prompt) == probe_run.B_E


def test_bookkeeping(probe_runs: Runs, experiment: Experiment) -> None:
    """δH₁ and SE follow from the scalars; E and U are disjoint; no prompt meets itself in a single batch."""
    replaced = experiment.config.prompts.with_replacement
    for outcome in bookkeeping.judged(probe_runs.complete(), with_replacement=replaced):
        experiment.require(outcome)


@pytest.mark.entropy_check
def test_convergence(probe_runs: Runs, experiment: Experiment) -> None:
    """δH₁(B_E) = a + b/B_E: the finite-batch bias b must not be there."""
    runs = probe_runs.complete()
    checks = experiment.config.checks
    verdict, analysis = convergence(
        runs,
        alpha=experiment.alpha,
        confidence=checks.confidence,
        tolerance=checks.tolerance,
        rng=experiment.rng("bootstrap"),
    )
    experiment.record(plain(analysis))
    experiment.conclude(verdict.verdict, verdict.reason)
    experiment.require(verdict.outcome)
    experiment.require(update_moves.check(runs))


@pytest.mark.entropy_check
def test_standard_error_shrinks(probe_runs: Runs, experiment: Experiment) -> None:
    """log SE against log B_E has slope -1/2."""
    runs = probe_runs.complete()
    experiment.require(se_slope.check(runs, alpha=experiment.alpha, rng=experiment.rng("slope")))
