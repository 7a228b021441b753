"""The noise of a measurement, log(sd / |mean|) of its per-prompt scalars, compared between two measurements.

Jackknife pseudo-values give an interval, but the spread of heavy-tailed numbers is itself so heavy-tailed that they
reject too often: 8 in 3000 pairs of equal measurements at a nominal 3.3e-4 (lognormal s_n, 256 prompts).  Between
equal measurements then and now may be swapped within each pair; that test has its level exactly.
"""

from __future__ import annotations

import math

import numpy as np

# Swaps beyond which the resolution of the p-value is not worth the time.
MOST_SWAPS = 200_000


def log_noise_pseudo_values(x: np.ndarray) -> np.ndarray:
    """Jackknife pseudo-values ``[n]`` of log(sd / |mean|)."""
    n = len(x)
    mean = x.mean()
    total = np.square(x - mean).sum()
    left_mean = mean - (x - mean) / (n - 1)
    # Sum of squares about the mean of the others.
    left_total = np.maximum(total - np.square(x - mean) * n / (n - 1), np.finfo(float).tiny)
    whole = 0.5 * math.log(total / (n - 1)) - math.log(abs(mean))
    left = 0.5 * np.log(left_total / (n - 2)) - np.log(np.abs(left_mean))
    return np.asarray(n * whole - (n - 1) * left)


def log_noise(x: np.ndarray) -> np.ndarray:
    """log(sd / |mean|) of each row of ``[..., n]``."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x.std(axis=-1, ddof=1)) - np.log(np.abs(x.mean(axis=-1))))


def swap_p_value(old: np.ndarray, new: np.ndarray, *, alpha: float) -> float:
    """p-value of |log noise of new - that of old| under random swaps of the pairs ``[n]``, enough of them for alpha.

    Exact where the pairs are exchangeable; 0 where ``alpha`` is below what so many swaps resolve, so that the
    other test alone decides.
    """
    swaps = math.ceil(4 / alpha)
    if swaps > MOST_SWAPS:
        return 0.0
    rng = np.random.default_rng(0)
    seen = abs(float(log_noise(new) - log_noise(old)))
    beyond, piece = 0, max(1, 2_000_000 // len(old))
    for start in range(0, swaps, piece):
        swapped = rng.random((min(piece, swaps - start), len(old))) < 0.5
        difference = log_noise(np.where(swapped, old, new)) - log_noise(np.where(swapped, new, old))
        # Rounding must not make the observed arrangement rarer than itself.
        beyond += int(np.sum(np.abs(difference) >= seen * (1 - 1e-12)))
    return (1 + beyond) / (1 + swaps)
