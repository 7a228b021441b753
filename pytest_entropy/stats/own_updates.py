"""The scaling fit of single batches, each with an update of its own: errors and p-values from the runs' own errors.

The variance of a U-statistic of B prompts is (4/B) [zeta_1 + c / (2 (B - 1))] (docs/mathematics.md §5), so prompts of
different B are not exchangeable, and a permutation of them finds a bias that is not there.  The runs' own errors are
never too small on average, whatever B; b over its error from these is referred to Student's t with Welch's degrees of
freedom, shortened as in ``guarded_t.py``.  The p-value is the larger of this one and the permutation's, since the first
holds where c dominates and the second where zeta_1 does.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy

from pytest_entropy.stats.guarded_t import effective_t
from pytest_entropy.stats.scaling import RunScalars, ScalingFit, least_squares_rows


def with_own_errors(fit: ScalingFit, runs: list[RunScalars]) -> ScalingFit:
    """The fit with the errors, intervals and p-values of a and b from the runs' own standard errors.

    Args:
        fit: of these runs, for exchangeable prompts.
        runs: pseudo-values ``[B_E]`` of each, whose spread gives its standard error.
    """
    if fit.a is None or fit.b is None or fit.p_b is None:
        return fit
    linear = least_squares_rows(np.array([run.B_E for run in runs], dtype=float))
    variances = np.array([(run.scale * np.asarray(run.s)).var(ddof=1) / run.B_E for run in runs])
    freedom = np.array([run.B_E - 1 for run in runs])
    (se_a, df_a), (se_b, df_b) = (_welch(row, variances, freedom) for row in linear)
    if not (se_a > 0 and se_b > 0):
        return fit
    reach_a, reach_b = (float(scipy.stats.t.isf((1 - fit.confidence) / 2, df)) for df in (df_a, df_b))
    return replace(
        fit, se_a=se_a, ci_a=(fit.a - reach_a * se_a, fit.a + reach_a * se_a),
        p_a=float(2 * scipy.stats.t.sf(abs(fit.a) / se_a, df_a)),
        se_b=se_b, ci_b=(fit.b - reach_b * se_b, fit.b + reach_b * se_b), p_b=max(fit.p_b, _p(fit.b / se_b, df_b)),
    )  # fmt: skip


def _p(t: float, freedom: float) -> float:
    size = float(effective_t(t, 0.0, max(2, round(freedom) + 1)))
    return min(1.0, float(2 * scipy.stats.t.sf(size, freedom)))


def _welch(row: np.ndarray, variances: np.ndarray, freedom: np.ndarray) -> tuple[float, float]:
    """(standard error, degrees of freedom) of a weighted sum of runs."""
    parts = np.square(row) * variances
    total = float(parts.sum())
    return math.sqrt(total), total**2 / float((np.square(parts) / freedom).sum()) if total > 0 else 1.0
