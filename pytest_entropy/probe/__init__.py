"""The mathematics on tensors: update direction, directional derivatives, estimators, variances.

This room takes tensors and records and returns tensors and records; it knows no files and no pytest.
"""

from pytest_entropy.probe.probe import EntropyProbe
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.probe import ProbeConfig

__all__ = ["EntropyProbe", "ProbeConfig", "RunRecord", "Update"]
