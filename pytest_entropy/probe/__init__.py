"""The mathematics on tensors: update direction, directional derivatives, estimators, variances.

No pytest here, and no input or output: tensors and records in, tensors and records out.
"""

from pytest_entropy.probe.probe import EntropyProbe
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.probe import ProbeConfig

__all__ = ["EntropyProbe", "ProbeConfig", "RunRecord", "Update"]
