"""The smallest ratio spread / SE that R runs detect, with shared prompts too: the power of the calibration test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import scipy

from pytest_entropy.stats.guarded_t import smallest_n
from pytest_entropy.stats.outcome import is_blind, require_rates


def loss_by_sharing(sampling_fraction: float) -> float:
    """The largest reduction of log(spread^2 / SE^2) that sharing prompts can cause, from the share that a run draws."""
    return -math.log1p(-sampling_fraction) if sampling_fraction < 1 else math.inf


@dataclass(frozen=True)
class CalibrationPower:
    """The smallest ratio spread / SE that R runs detect, against the ratio of interest.

    Attributes:
        without_sharing: the smallest ratio where no two runs share a prompt.
        smallest: the smallest ratio with the prompts that the runs do share.
        needed: how many runs detect ``interest``; None where these do, or no number does.
    """

    runs: int
    sampling_fraction: float
    without_sharing: float
    smallest: float
    interest: float | None
    needed: int | None

    @classmethod
    def of(
        cls, runs: int, sampling_fraction: float, interest: float | None, *, alpha: float, power: float
    ) -> CalibrationPower:
        """The power of a test over some runs.

        Args:
            runs: R.
            sampling_fraction: share of the distinct prompts that each run draws, in [0, 1].
            interest: the ratio spread / SE that has to be detected, if there is one.
            alpha, power: false-alarm rate, and chance of detection, both in (0, 1).
        """
        loss = loss_by_sharing(sampling_fraction)
        without_sharing = min_discrepancy_se_calibration(runs, alpha=alpha, power=power)
        smallest = without_sharing * math.exp(loss / 2)
        needed = None
        if interest is not None and smallest > interest:
            remaining = interest * math.exp(-loss / 2)
            if remaining > 1:
                needed = min_num_samples_se_calibration(remaining, alpha=alpha, power=power)
        return cls(runs, sampling_fraction, without_sharing, smallest, interest, needed)

    @property
    def is_blind(self) -> bool:
        """Whether the runs could miss the ratio of interest."""
        return is_blind(self.smallest, self.interest)

    @property
    def reason(self) -> str:
        """Why the runs are blind, where sharing prompts is the cause; "" where their number is."""
        by_sharing = self.is_blind and not self.without_sharing > (self.interest or math.inf)
        return _sharing(self.sampling_fraction) if by_sharing else ""


def _sharing(fraction: float) -> str:
    """Why runs on a small set of prompts say little about the error for prompts like these."""
    return (
        f"every run draws {fraction:.0%} of the prompts there are, so runs share prompts and spread less than the "
        "standard error for prompts like these, by an unknown part of what differs between prompts: give more prompts, "
        "a smaller B_E, or --with-replacement"
    )


def min_discrepancy_se_calibration(runs: int, *, alpha: float, power: float = 0.95) -> float:
    """The smallest ratio spread / SE above 1 that R runs detect.

    Chi-square approximation: delta_h1 of a run is taken as normal and the reported SE as exact.

    Args:
        runs: R.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: fewer than 2 runs, alpha or power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    if runs < 2:
        raise ValueError(f"runs is {runs}: a spread needs at least 2")
    return math.sqrt(scipy.stats.chi2.isf(alpha / 2, runs - 1) / scipy.stats.chi2.isf(power, runs - 1))


def min_num_samples_se_calibration(ratio: float, *, alpha: float, power: float = 0.95) -> int:
    """The smallest number of runs that detect a ratio spread / SE of ``ratio``.

    Inverts :func:`min_discrepancy_se_calibration`.

    >>> min_num_samples_se_calibration(3.0, alpha=0.01)
    9

    Args:
        ratio: spread / SE, above 1.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: the ratio is 1 or less.
    """
    if not ratio > 1:
        raise ValueError(f"ratio is {ratio}, it must exceed 1")
    return smallest_n(lambda r: min_discrepancy_se_calibration(r, alpha=alpha, power=power), ratio, at_least=2)
