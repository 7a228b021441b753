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
    runs = probe_runs.complete()
    experiment.record(single.record(runs))
    experiment.conclude(*single.conclusion(runs))
    experiment.require(single.agreement(runs))
    experiment.require(single.update_moves(runs))
