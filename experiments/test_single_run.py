"""One clean measurement.

pytest experiments/test_single_run.py --checkpoint C --be 256 --bu 32
"""

import math

import pytest

from pytest_entropy.analyses import single

pytestmark = pytest.mark.entropy_experiment("single_run")


def test_run(probe_run):
    """δH₁ with its standard error, and a sampler and a scorer that agree."""
    assert math.isfinite(probe_run.delta_h1)
    assert probe_run.se_conditional is not None


def test_result(probe_runs, experiment):
    """The measurement means something: the update moves, and sampler and scorer agree."""
    assert not probe_runs.failures, f"runs failed: {sorted(probe_runs.failures)}"
    experiment.record(single.record(probe_runs.results))
    experiment.conclude(*single.conclusion(probe_runs.results))
    experiment.require(single.agreement(probe_runs.results))
    experiment.require(single.update_moves(probe_runs.results))
