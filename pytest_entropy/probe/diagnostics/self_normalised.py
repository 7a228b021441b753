"""Entropy change by self-normalised importance sampling, with plain, Pareto-smoothed or clipped weights.

    Delta_n(h) = sum_g v_g H_g(h) - (1/G) sum_g H_g(0),      v_g = w_g / sum_j w_j,

w_g the likelihood ratio of response g.  Biased by the normalisation: at first order in h by -1/G of the part
that comes from the weights, cov(H_g, dS_g), and at second order by O(1/G) as well.  What it tends to as h -> 0
is the estimator ``self_normalised`` exactly (docs/mathematics.md §7).
"""

from __future__ import annotations

import math

import numpy as np

from pytest_entropy.errors import UsageError
from pytest_entropy.probe.diagnostics.importance_sampling import Totals

# Pareto's shape is fitted to the largest fifth of the weights, and to no fewer than five of them.
SMALLEST_N = 25


def self_normalised_change(
    before: Totals,
    after: Totals,
    *,
    shares: np.ndarray | None = None,
    log_weights: np.ndarray | None = None,
) -> np.ndarray:
    """Delta_n ``[P]`` in nats per response.

    Args:
        before, after: S and sum_k H_k at theta and at theta + h u.
        shares: ``[P, G]``, what each response counts in its group's mean, with sum 1; 1/G if left out.  With
            every response there is and its probability as its share, the change is exact.
        log_weights: ``[P, G]``, smoothed or clipped; after.sequence - before.sequence if left out.
    """
    group = before.nats.shape[1]
    own = np.full(before.nats.shape, 1 / group) if shares is None else shares
    logs = after.sequence - before.sequence if log_weights is None else log_weights
    w = own * np.exp(logs - logs.max(1, keepdims=True))
    v = w / w.sum(1, keepdims=True)
    # The common part is taken off first, so that a small change keeps its digits.
    change: np.ndarray = ((v - own) * after.nats).sum(1) + (own * (after.nats - before.nats)).sum(1)
    return change


def pareto_smoothed(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """(smoothed log-weights, k-hat): all responses' weights as one sample, largest values by a Pareto fit.

    Smoothing needs far more weights than a group has; pooled they are weights of the joint draw of prompt and
    response.  k-hat above 0.7 means that the mean of the weights is not to be trusted (Vehtari et al., arXiv
    1507.02646); it is NaN, and nothing is smoothed, for fewer than 25 weights or equal ones.

    Raises:
        UsageError: arviz-stats is not installed.
    """
    try:
        from arviz_stats.base import array_stats  # type: ignore[attr-defined]
    except ImportError:
        raise UsageError(
            "Pareto-smoothed weights need arviz-stats: install pytest-entropy[psis], or leave pareto_smoothed off"
        ) from None
    flat = np.ravel(log_weights)
    largest = np.sort(flat)[-max(5, flat.size // 5) :]
    if flat.size < SMALLEST_N or not np.isfinite(flat).all() or np.ptp(largest) == 0:
        return log_weights, math.nan
    # psislw takes negative log-weights and normalises; the smallest, which is not smoothed, brings the scale back.
    smoothed, shape = array_stats.psislw(-flat)
    return np.asarray(smoothed + (flat.min() - smoothed.min())).reshape(log_weights.shape), float(shape)


def clipped(log_weights: np.ndarray, largest: float) -> np.ndarray:
    """Log-weights of min(w, ``largest``): less variance, at the price of a bias toward no change.

    Raises:
        ValueError: a bound that is not above 1, where the weights of no step lie.
    """
    if not largest > 1:
        raise ValueError(f"weights are clipped at {largest}, it must be above 1")
    bounded: np.ndarray = np.minimum(log_weights, math.log(largest))
    return bounded
