"""delta_h1 against B_E: a weighted least-squares fit of a + b/B_E, and its intervals (docs/mathematics.md §6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from pytest_entropy.stats.intervals import FEWEST_PROMPTS, PromptPool
from pytest_entropy.stats.outcome import require_rates
from pytest_entropy.stats.permutation import permutation_test, run_moments, unit_spread
from pytest_entropy.stats.signal import signal_to_noise

# Resampled scalars held at a time.
BOOTSTRAP_ENTRIES = 2_000_000


@dataclass(frozen=True)
class RunScalars:
    """One run: delta_h1 = scale * mean(s), with s ``[B_E]`` the per-prompt scalars and scale = eta.

    ``se`` is the standard error that the run reported; without it checks take that of the mean of s.

    Raises:
        ValueError: B_E is below 2, or not the number of scalars.
    """

    B_E: int
    run: int
    s: np.ndarray
    scale: float
    se: float | None = None

    def __post_init__(self) -> None:
        if self.B_E < 2 or len(self.s) != self.B_E:
            raise ValueError(f"a run needs B_E >= 2 scalars, got B_E {self.B_E} with {len(self.s)}")

    @property
    def delta(self) -> float:
        """delta_h1 in nats."""
        return float(self.scale * self.s.mean())


@dataclass(frozen=True)
class ScalingFit:
    """delta_h1(B_E) = a + b/B_E; the parameters are None where there are fewer than two B_E.

    Attributes:
        sigma: the spread of eta s_n, pooled within runs, in nats.
        confidence: of all intervals.
        a, b: the converged value, and the finite-batch bias times B_E, in nats.
        se_a, se_b: their standard errors.
        ci_a, ci_b: intervals by Student's t and the pooled skewness (``intervals.py``); None with too few prompts.
        bootstrap_t_ci_a, bootstrap_t_ci_b: the same by a studentised bootstrap over prompts, which assumes neither.
        p_a, p_b: two-sided p-values of zero, a's by Student's t, b's by shuffling prompts over the runs (exact under
            any tails).
        p_b_resolution: the smallest p-value that the shuffles could have given.
    """

    batch_sizes: list[int]
    n_runs: int
    n_prompts: int
    sigma: float
    confidence: float
    a: float | None = None
    se_a: float | None = None
    ci_a: tuple[float, float] | None = None
    p_a: float | None = None
    bootstrap_t_ci_a: tuple[float, float] | None = None
    b: float | None = None
    se_b: float | None = None
    ci_b: tuple[float, float] | None = None
    p_b: float | None = None
    p_b_resolution: float | None = None
    bootstrap_t_ci_b: tuple[float, float] | None = None


def least_squares_rows(sizes: np.ndarray) -> np.ndarray:
    """Rows (a, b) ``[2, R]`` of the linear map from R runs' delta_h1 to the fit, with weights proportional to B_E."""
    design = np.stack([np.ones_like(sizes), 1 / sizes], axis=1)
    weighted = design * sizes[:, None]
    return np.linalg.solve(design.T @ weighted, weighted.T)


def fit_scaling(
    runs: Sequence[RunScalars],
    *,
    confidence: float = 0.95,
    bootstrap: int = 2000,
    rng: np.random.Generator,
    alpha: float = 0.0,
    shuffles: int | None = None,
) -> ScalingFit:
    """Fit delta_h1 = a + b/B_E by weighted least squares, weights proportional to B_E (docs/mathematics.md §6).

    The variance of a run is sigma^2 / B_E by design; weighting by each run's own SE would correlate weight
    with value on skewed scalars and bias the fit.

    Args:
        runs: scalars ``[B_E]`` and scale of each.
        confidence: of the intervals, in (0, 1).
        bootstrap: the number of resamples.
        rng: source of the resamples and shuffles.
        alpha, shuffles: the false-alarm rate that b's p-value has to resolve, and the most shuffles for it.

    Raises:
        ValueError: there are no runs, a scalar is not finite, confidence lies outside (0, 1).
    """
    require_rates(confidence=confidence)
    if not runs:
        raise ValueError("a fit needs runs")
    values = [r.scale * np.asarray(r.s, dtype=float) for r in runs]
    if not all(np.isfinite(v).all() for v in values):
        raise ValueError("a run's scalars are not finite")
    sizes = np.array([r.B_E for r in runs], dtype=float)
    pool = PromptPool.of(values)
    distinct = sorted({r.B_E for r in runs})
    fit = ScalingFit(distinct, len(runs), pool.prompts, pool.sigma, confidence)
    if len(distinct) < 2:
        return fit
    linear = least_squares_rows(sizes)
    fit = _with_parameters(fit, values, linear, sizes, pool)
    p_b, resolution = _permutation_p(values, linear[1], rng, alpha, shuffles)
    fit = replace(fit, p_b=p_b, p_b_resolution=resolution)
    return _with_bootstrap(fit, values, linear, sizes, bootstrap, rng) if pool.prompts >= FEWEST_PROMPTS else fit


def _with_parameters(
    fit: ScalingFit, values: list[np.ndarray], linear: np.ndarray, sizes: np.ndarray, pool: PromptPool
) -> ScalingFit:
    """The fit with a and b, their standard errors and intervals, and a's p-value."""
    a, b = (float(x) for x in linear @ np.array([v.mean() for v in values]))
    se_a, se_b = (pool.standard_error(row, sizes) for row in linear)
    freedom = pool.prompts - pool.runs
    return replace(
        fit,
        a=a,
        se_a=se_a,
        ci_a=pool.sum_interval(a, linear[0], sizes, confidence=fit.confidence),
        p_a=float(2 * scipy.special.stdtr(freedom, -abs(a) / se_a)) if se_a > 0 else float(a == 0),
        b=b,
        se_b=se_b,
        ci_b=pool.sum_interval(b, linear[1], sizes, confidence=fit.confidence),
    )


def _with_bootstrap(
    fit: ScalingFit, values: list[np.ndarray], linear: np.ndarray, sizes: np.ndarray, draws: int,
    rng: np.random.Generator,
) -> ScalingFit:  # fmt: skip
    """The fit with the studentised bootstrap's intervals of a and b."""
    again = _bootstrap_t(values, linear, sizes, draws, rng)
    tails = [(1 + fit.confidence) / 2, (1 - fit.confidence) / 2]
    reach_a, reach_b = np.quantile(again, tails, axis=0).T
    assert fit.a is not None
    assert fit.b is not None
    assert fit.se_a is not None
    assert fit.se_b is not None
    return replace(
        fit,
        bootstrap_t_ci_a=(fit.a - float(reach_a[0]) * fit.se_a, fit.a - float(reach_a[1]) * fit.se_a),
        bootstrap_t_ci_b=(fit.b - float(reach_b[0]) * fit.se_b, fit.b - float(reach_b[1]) * fit.se_b),
    )


def _permutation_p(
    values: list[np.ndarray], weights: np.ndarray, rng: np.random.Generator, alpha: float, shuffles: int | None
) -> tuple[float, float]:
    """p-value of a weighted sum of run means under prompts exchangeable over runs, and its resolution."""
    pooled = np.concatenate(values)
    if np.ptp(pooled) == 0:
        return 1.0, 0.0
    sizes = np.array([len(v) for v in values])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    centred, _ = unit_spread(pooled)

    def statistic(table: np.ndarray) -> np.ndarray:
        weighted: np.ndarray = np.add.reduceat(table, starts, axis=1) @ (weights / sizes)
        return weighted

    observed = float(statistic(centred[None])[0])
    result = permutation_test(observed, centred, statistic, sizes=sizes, rng=rng, alpha=alpha, shuffles=shuffles)
    return result.p_value, result.resolution


def _bootstrap_t(
    values: list[np.ndarray], linear: np.ndarray, sizes: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """(a, b) over their standard errors, ``[draws, 2]``, of runs whose prompts are drawn from all runs' residuals.

    Prompts of one small run alone would have too small a variance, by the factor 1 - 1/B_E.
    """
    residuals = np.concatenate([v - v.mean() for v in values])
    if not residuals.any():
        return np.zeros((draws, 2))
    whole = sizes.astype(int)
    per_unit = np.sqrt((np.square(linear) / sizes).sum(axis=1))
    out, piece = [np.empty((0, 2))], max(1, BOOTSTRAP_ENTRIES // len(residuals))
    for done in range(0, draws, piece):
        drawn = residuals[rng.integers(0, len(residuals), size=(min(piece, draws - done), len(residuals)))]
        means, squares = run_moments(drawn, whole)
        # Squared standard errors times B_E (B_E - 1) are sums of squares.
        variance = (squares * sizes * (sizes - 1)).sum(axis=1) / (len(residuals) - len(sizes))
        sigma = np.sqrt(np.where(variance > 0, variance, np.inf))
        out.append((means @ linear.T) / (sigma[:, None] * per_unit))
    return np.concatenate(out)


@dataclass(frozen=True)
class BatchStatistics:
    """The runs of one B_E, in nats: their number, mean, spread (None of one run), mean SE and values."""

    runs: int
    mean_delta_h1: float
    std_delta_h1: float | None
    mean_se: float
    signal_to_noise: float | None
    signal_to_noise_label: str
    values: list[float]


@dataclass(frozen=True)
class SeedFields:
    """The predecessor's fields of ``convergence_analysis.json``, reported beside the verdict.

    Attributes:
        batch_statistics: by B_E.
        observed_ratio: |mean delta_h1 at the smallest B_E| over that at the largest.
        expected_if_1_over_B_E: that ratio under pure 1/B_E scaling.
        suggests_convergence, suggests_1_over_B_E_scaling: the verdict, in the predecessor's words.
    """

    batch_statistics: dict[str, BatchStatistics]
    observed_ratio: float | None
    expected_if_1_over_B_E: float
    suggests_convergence: bool
    suggests_1_over_B_E_scaling: bool


def seed_fields(runs: Sequence[RunScalars], verdict: str) -> SeedFields:
    """The predecessor's statistics per B_E and ratios.

    Args:
        runs: scalars ``[B_E]`` and scale of each.
        verdict: on the scaling fit to them.
    """
    sizes = sorted({r.B_E for r in runs})
    per_size = {size: [r for r in runs if size == r.B_E] for size in sizes}
    means = {size: float(np.mean([r.delta for r in rs])) for size, rs in per_size.items()}
    ratio = None
    if len(sizes) > 1 and means[sizes[-1]] != 0:
        ratio = abs(means[sizes[0]] / means[sizes[-1]])
    return SeedFields(
        batch_statistics={str(size): _batch(rs, means[size]) for size, rs in per_size.items()},
        observed_ratio=ratio,
        expected_if_1_over_B_E=sizes[-1] / sizes[0],
        suggests_convergence=verdict == "converges",
        suggests_1_over_B_E_scaling=verdict == "scales_as_1/B_E",
    )


def _batch(runs: list[RunScalars], mean: float) -> BatchStatistics:
    deltas = np.array([r.delta for r in runs])
    errors = [abs(r.scale) * float(np.std(r.s, ddof=1)) / math.sqrt(r.B_E) for r in runs]
    ratio, label = signal_to_noise(mean, float(np.mean(errors)))
    # A spread from one run is unknown, not zero.
    spread = float(deltas.std(ddof=1)) if len(runs) > 1 else None
    return BatchStatistics(len(runs), mean, spread, float(np.mean(errors)), ratio, label, deltas.tolist())
