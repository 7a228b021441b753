"""Does peak memory stay flat as the entropy batch grows, and what do memory and time cost per response and token?

pytest experiments/test_memory_scaling.py --checkpoint C --be-values 32,64,128,256
"""

import math

import pytest

from pytest_entropy.checks.summaries import memory_scaling
from pytest_entropy.plugin.experiment import Experiment, Runs
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain

pytestmark = pytest.mark.entropy_experiment("memory_scaling")


@pytest.fixture(autouse=True)
def _two_batch(experiment: Experiment) -> None:
    """Only the mode whose entropy batch has an update of its own is measured."""
    if experiment.config.probe.mode != "two_batch":
        pytest.skip("memory scaling measures mode two_batch")


def test_run(probe_run: RunRecord) -> None:
    """One run at one B_E: seconds and peak memory of every phase, as a user has them."""
    assert all(math.isfinite(seconds) for seconds in probe_run.seconds.values())
    assert min(probe_run.memory_mb[phase] for phase in probe_run.seconds) > 0


def test_memory_is_flat(experiment: Experiment) -> None:
    """The most bytes that a run's tensors hold do not grow with B_E, beyond the tables of its results."""
    experiment.require(memory_scaling.flatness(experiment.memory_probes.probes))


def test_costs(probe_runs: Runs, experiment: Experiment) -> None:
    """Memory and seconds against B_E, G and length, with forecasts; seconds are reported and never judged."""
    analysis = memory_scaling.memory_scaling(probe_runs.complete(), experiment.memory_probes)
    experiment.record(plain(analysis))
    experiment.conclude(*memory_scaling.conclusion(analysis))
    assert all(math.isfinite(value) for fit in analysis.fits for _, value in fit.points)
