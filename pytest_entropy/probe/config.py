"""Settings of a probe; they are defined with all other settings, in :mod:`pytest_entropy.settings.probe`."""

from pytest_entropy.settings.diagnostics import MEASUREMENTS
from pytest_entropy.settings.probe import SMALLEST_SINGLE_BATCH, ProbeConfig

__all__ = ["MEASUREMENTS", "SMALLEST_SINGLE_BATCH", "ProbeConfig"]
