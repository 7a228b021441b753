"""Confidence intervals of means, and of other weighted sums, of per-prompt scalars; every interval's quantile.

Student's t covers too little on skewed scalars: the value and its standard error are correlated, by B = skewness x
sum c / (n sqrt(sum c^2)) for a sum with weights c over n pooled prompts, while the value's own skewness is A = skewness
x sum c^3 / (sum c^2)^(3/2).  By the Edgeworth expansion

    g(T) = T + q1 T^2 + q1^2 T^3 / 3 + q0,    q1 = (3 B - A) / 6,  q0 = B / 2 - q1

is closer to symmetric than T; for a mean (A = B) it is Hall's cubic (1992, J. R. Statist. Soc. B 54, 221).  Where A
exceeds 3 B (a run of less than a third of its pool; the slope of a fit) the two partly cancel and t holds as it is.
Skewness is itself noisy, so that an end that the cubic moves inwards is moved by half of that only.

Measured coverage is in docs/statistics.md.  Below ``FEWEST_PROMPTS`` pooled prompts there is no interval: a sample of 8
may lack the tail of its distribution entirely, and no function of such a sample covers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from pytest_entropy.stats.outcome import require_rates

FEWEST_PROMPTS = 32
# The share of the cubic's narrowing that an interval's end makes use of.
NARROWING = 0.5


def two_sided_quantile(confidence: float, freedom: float = math.inf) -> float:
    """Student's t beyond which 1 - ``confidence`` lies on both sides together; the normal quantile by default.

    >>> round(two_sided_quantile(0.95), 3), round(two_sided_quantile(0.95, 7), 3)
    (1.96, 2.365)

    Args:
        confidence: in (0, 1).
        freedom: degrees of freedom; infinite where the standard error is known.

    Raises:
        ValueError: the confidence lies outside (0, 1).
    """
    require_rates(confidence=confidence)
    tail = (1 + confidence) / 2
    return float(scipy.special.ndtri(tail) if math.isinf(freedom) else scipy.special.stdtrit(freedom, tail))


def too_few(prompts: int) -> str:
    """Why so many prompts have no interval, in words; empty where they have one.

    >>> too_few(8), too_few(32)
    ('no interval: 8 prompts are too few (it takes 32 to decide)', '')
    """
    return (
        ""
        if prompts >= FEWEST_PROMPTS
        else f"no interval: {prompts} prompts are too few (it takes {FEWEST_PROMPTS} to decide)"
    )


def mean_interval(mean: float, se: float, skew: float, n: int, *, confidence: float) -> tuple[float, float] | None:
    """The interval (low, high) of the mean of n independent scalars; None for fewer than ``FEWEST_PROMPTS``.

    Args:
        mean, se: the mean and its standard error, in the unit of the data.
        skew: the sample's skewness; 0 where it is not known.
        n: the number of scalars.
        confidence: in (0, 1).

    Raises:
        ValueError: the confidence lies outside (0, 1).
    """
    of_mean = skew / math.sqrt(n)
    return skewed_interval(mean, se, n - 1, n, of_mean, of_mean, confidence=confidence)


def interval_of_mean(values: np.ndarray, *, confidence: float) -> tuple[float, float] | None:
    """The interval (low, high) of the mean of scalars ``[n]``; None for fewer than ``FEWEST_PROMPTS``.

    Args:
        values: ``[n]``, independent.
        confidence: in (0, 1).
    """
    if len(values) < FEWEST_PROMPTS:
        return None
    pool = PromptPool.of([values])
    return pool.sum_interval(float(values.mean()), np.ones(1), np.array([len(values)]), confidence=confidence)


@dataclass(frozen=True)
class PromptPool:
    """The scalars of runs along one update, which share a distribution up to the runs' means.

    Attributes:
        sigma: their standard deviation within runs, in the unit of the data.
        skew: their skewness within runs.
        prompts, runs: the numbers of both.
    """

    sigma: float
    skew: float
    prompts: int
    runs: int

    @classmethod
    def of(cls, values: Sequence[np.ndarray]) -> PromptPool:
        """The pool of the runs' scalars, ``[B_E]`` each.

        Raises:
            ValueError: no run has two scalars.
        """
        sizes = np.array([len(v) for v in values], dtype=float)
        prompts, runs = int(sizes.sum()), len(values)
        if prompts <= runs:
            raise ValueError("a standard deviation within runs needs a run of at least 2 prompts")
        centred = np.concatenate([v - v.mean() for v in values])
        largest = float(np.abs(centred).max())
        if largest == 0:
            return cls(0.0, 0.0, prompts, runs)
        # Scaled, so that no power overflows or vanishes.
        z = centred / largest
        sigma = math.sqrt(float(np.square(z).sum()) / (prompts - runs))
        # A run's third moment about its own mean is too small by these factors.
        effective = float((sizes * (1 - 1 / sizes) * (1 - 2 / sizes)).sum())
        skew = float(np.power(z, 3).sum()) / effective / sigma**3 if effective > 0 else 0.0
        return cls(sigma * largest, skew, prompts, runs)

    def standard_error(self, weights: np.ndarray, sizes: np.ndarray) -> float:
        """The standard error of a sum of run means.

        Args:
            weights: one per run mean ``[K]``.
            sizes: B_E of those runs ``[K]``.
        """
        return self.sigma * math.sqrt(float((np.square(weights) / sizes).sum()))

    def sum_interval(
        self, value: float, weights: np.ndarray, sizes: np.ndarray, *, confidence: float
    ) -> tuple[float, float] | None:
        """The interval (low, high) of a sum of run means; None for a pool of fewer than ``FEWEST_PROMPTS``.

        Args:
            value: the sum.
            weights: one per run mean ``[K]``.
            sizes: B_E of those runs ``[K]``.
            confidence: in (0, 1).

        Raises:
            ValueError: the confidence lies outside (0, 1).
        """
        squares = float((np.square(weights) / sizes).sum())
        own = self.skew * float((np.power(weights, 3) / np.square(sizes)).sum()) / squares**1.5
        shared = self.skew * float(weights.sum()) / (self.prompts * math.sqrt(squares))
        se, freedom = self.standard_error(weights, sizes), self.prompts - self.runs
        return skewed_interval(value, se, freedom, self.prompts, own, shared, confidence=confidence)


def skewed_interval(
    value: float, se: float, freedom: float, prompts: int, own: float, shared: float, *, confidence: float
) -> tuple[float, float] | None:
    """The interval of a sum with skewness ``own`` (A above) and correlation ``shared`` (B above) with its error.

    None with fewer than ``FEWEST_PROMPTS`` prompts.

    Args:
        value, se: the sum and its standard error, in one unit.
        freedom: degrees of freedom of the error.
        prompts: number of independent prompts.
        own, shared: A and B.
        confidence: in (0, 1).
    """
    require_rates(confidence=confidence)
    if prompts < FEWEST_PROMPTS or freedom < 1:
        return None
    t = two_sided_quantile(confidence, freedom)
    below, above = (_end(t, sign * own, sign * shared) for sign in (1, -1))
    return value - below * se, value + above * se


def _end(t: float, own: float, shared: float) -> float:
    """By how many standard errors the value may exceed its mean: g(T) = t solved for T, of which not all is used."""
    bend = 3 * shared - own
    # Opposite signs of the bend and the correlation: the sum is a small share of its pool.
    if bend * shared <= 0:
        return t
    q1 = bend / 6
    solved = (float(np.cbrt(1 + 3 * q1 * (t - shared / 2 + q1))) - 1) / q1 if abs(q1) > 1e-9 else t
    return solved if solved > t else t - (t - solved) * NARROWING
