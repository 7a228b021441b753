"""Entropy change by self-normalised importance sampling, with plain, Pareto-smoothed or clipped weights.

    Delta_n(h) = sum_g v_g H_g(h) - (1/G) sum_g H_g(0),      v_g = w_g / sum_j w_j,

w_g the likelihood ratio of response g.  The normalisation biases it: at first order in h by -1/G of the part
that comes from the weights, cov(H_g, dS_g), and at second order by O(1/G) as well.  Its derivative at h = 0
is exactly the scalar ``self_normalised`` (docs/mathematics.md §7).
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
    """Delta_n ``[P]``, the change of entropy in nats per response, by self-normalised weights.

    Args:
        before, after: totals ``[P, G]`` at theta and at theta + h u.
        shares: ``[P, G]``, the weight of each response in its group's mean at theta, with sum 1; 1/G if left out.  If
            the group holds every possible response with its probability as its share, the change is exact.
        log_weights: log w ``[P, G]``, smoothed or clipped; after.sequence - before.sequence if left out.
    """
    group = before.nats.shape[1]
    base = np.full(before.nats.shape, 1 / group) if shares is None else shares
    logs = after.sequence - before.sequence if log_weights is None else log_weights
    w = base * np.exp(logs - logs.max(1, keepdims=True))
    v = w / w.sum(1, keepdims=True)
    # Differences are taken before the sums, so that a small change keeps its digits.
    change: np.ndarray = ((v - base) * after.nats).sum(1) + (base * (after.nats - before.nats)).sum(1)
    return change


def pareto_smoothed(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """(smoothed log-weights, k-hat): replace the largest weights by quantiles of a Pareto fit to them.

    The weights of all responses are taken as one sample, since smoothing needs far more weights than a group has;
    pooled they are weights of the joint draw of prompt and response.  A k-hat above 0.7 means that the mean of the
    weights is not reliable (Vehtari et al., arXiv 1507.02646).  It is NaN, and nothing is smoothed, for fewer than 25
    weights, for weights that are not finite, and where the largest weights are all equal.

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
    """log min(w, largest): less variance, at the price of a bias toward no change.

    Args:
        log_weights: log w, of any shape, nats.
        largest: upper bound on w, above 1.

    Raises:
        ValueError: the bound is not above 1, the weight at step 0.
    """
    if not largest > 1:
        raise ValueError(f"weights are clipped at {largest}, it must be above 1")
    bounded: np.ndarray = np.minimum(log_weights, math.log(largest))
    return bounded
