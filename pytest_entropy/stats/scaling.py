"""delta_h1 against B_E: a weighted least-squares fit of a + b/B_E, and a verdict with error rates (§6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from pytest_entropy.stats.outcome import CheckOutcome, Verdict
from pytest_entropy.stats.signal import signal_to_noise

ScalingWord = Literal["converges", "scales_as_1/B_E", "finite_batch_bias", "inconclusive"]


@dataclass(frozen=True)
class RunScalars:
    """One run: delta_h1 = scale * mean(s), with s ``[B_E]`` the per-prompt scalars and scale = eta."""

    B_E: int
    run: int
    s: np.ndarray
    scale: float

    def __post_init__(self) -> None:
        if self.B_E < 2 or len(self.s) != self.B_E:
            raise ValueError(f"a run needs B_E >= 2 scalars, got B_E {self.B_E} with {len(self.s)}")

    @property
    def delta(self) -> float:
        """delta_h1."""
        return float(self.scale * self.s.mean())


@dataclass(frozen=True)
class ScalingFit:
    """delta_h1(B_E) = a + b/B_E.

    ``a`` the converged value, ``b`` the finite-batch bias times B_E, with standard errors, t intervals at
    ``confidence`` and percentile intervals from a bootstrap over prompts; ``sigma`` the pooled spread of
    eta s_n; ``p_a`` and ``p_b`` two-sided p-values of zero.  None where there are fewer than two B_E.
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
    bootstrap_ci_a: tuple[float, float] | None = None
    b: float | None = None
    se_b: float | None = None
    ci_b: tuple[float, float] | None = None
    p_b: float | None = None
    bootstrap_ci_b: tuple[float, float] | None = None


def _coefficients(sizes: np.ndarray) -> np.ndarray:
    """Rows (a, b) of the linear map from the runs' delta_h1 to the fit, weights proportional to B_E."""
    design = np.stack([np.ones_like(sizes), 1 / sizes], axis=1)
    weighted = design * sizes[:, None]
    return np.linalg.solve(design.T @ weighted, weighted.T)


def fit_scaling(
    runs: Sequence[RunScalars], *, confidence: float = 0.95, bootstrap: int = 2000, rng: np.random.Generator
) -> ScalingFit:
    """Weighted least squares with weights proportional to B_E, sigma^2 pooled within runs.

    The variance of a run is sigma^2 / B_E by design; weighting by each run's own SE would correlate weight
    with value on skewed scalars and bias the fit.

    Raises:
        ValueError: no runs, or scalars that are not finite.
    """
    if not runs:
        raise ValueError("a fit needs runs")
    values = [r.scale * np.asarray(r.s, dtype=float) for r in runs]
    if not all(np.isfinite(v).all() for v in values):
        raise ValueError("a run's scalars are not finite")
    sizes = np.array([r.B_E for r in runs], dtype=float)
    freedom = int(sizes.sum()) - len(runs)
    sigma = math.sqrt(sum(float(np.square(v - v.mean()).sum()) for v in values) / freedom)
    distinct = sorted({r.B_E for r in runs})
    fit = ScalingFit(distinct, len(runs), int(sizes.sum()), sigma, confidence)
    if len(distinct) < 2:
        return fit
    linear = _coefficients(sizes)
    a, b = (float(x) for x in linear @ np.array([v.mean() for v in values]))
    se_a, se_b = (float(x) for x in np.sqrt((np.square(linear) * sigma**2 / sizes).sum(axis=1)))
    again = _bootstrap(values, linear, bootstrap, rng)
    reach = float(stats.t.isf((1 - confidence) / 2, freedom))

    def quantiles(column: np.ndarray) -> tuple[float, float]:
        low, high = np.quantile(column, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)

    def p(value: float, se: float) -> float:
        return float(2 * stats.t.sf(abs(value) / se, freedom)) if se > 0 else float(value == 0)

    return replace(
        fit,
        a=a,
        se_a=se_a,
        ci_a=(a - reach * se_a, a + reach * se_a),
        p_a=p(a, se_a),
        bootstrap_ci_a=quantiles(again[:, 0]),
        b=b,
        se_b=se_b,
        ci_b=(b - reach * se_b, b + reach * se_b),
        p_b=p(b, se_b),
        bootstrap_ci_b=quantiles(again[:, 1]),
    )


def _bootstrap(values: list[np.ndarray], linear: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(a, b) on resampled prompts, ``[draws, 2]``: within each run, with replacement."""
    means = np.stack([v[rng.integers(0, len(v), size=(draws, len(v)))].mean(axis=1) for v in values], axis=1)
    return means @ linear.T


@dataclass(frozen=True)
class ScalingVerdict:
    """The verdict, as a check's outcome, in words, and how many more runs per B_E would decide."""

    verdict: ScalingWord
    outcome: CheckOutcome
    reason: str
    runs_needed: int | None


def scaling_verdict(
    fit: ScalingFit, *, alpha: float, confidence: float = 0.95, tolerance: float = 0.1
) -> ScalingVerdict:
    """Converges, scales as 1/B_E, has another finite-batch bias, or cannot be told.

    A red verdict needs b != 0 at ``alpha``, the share of the session's false-alarm budget.  ``converges``
    needs a != 0 at ``confidence`` (so that pure 1/B_E scaling passes with probability at most
    1 - confidence) and a b whose interval covers 0, or with |b|/B_max < tolerance |a|.
    """
    if fit.a is None or fit.b is None or fit.ci_a is None or fit.ci_b is None or fit.p_b is None:
        reason = "one B_E alone cannot tell convergence from 1/B_E scaling; give several --be-values"
        return ScalingVerdict("inconclusive", _outcome(fit, "inconclusive", alpha, reason), reason, None)
    size = max(fit.batch_sizes)
    a_is_there = not fit.ci_a[0] <= 0 <= fit.ci_a[1]
    b_may_be_zero = fit.ci_b[0] <= 0 <= fit.ci_b[1]
    b_is_small = abs(fit.b) / size < tolerance * abs(fit.a)
    word: ScalingWord
    if fit.p_b < alpha and not (a_is_there and b_is_small):
        word = "finite_batch_bias" if a_is_there else "scales_as_1/B_E"
    elif a_is_there and (b_may_be_zero or b_is_small):
        word = "converges"
    else:
        word = "inconclusive"
    needed = _more_runs(fit, confidence) if word == "inconclusive" else None
    reason = _words(fit, word, needed)
    verdict: Verdict = {"converges": "pass", "inconclusive": "inconclusive"}.get(word, "fail")  # type: ignore[assignment]
    return ScalingVerdict(word, _outcome(fit, verdict, alpha, reason), reason, needed)


def _more_runs(fit: ScalingFit, confidence: float, power: float = 0.9) -> int | None:
    """Runs per B_E, beyond those there are, at which a of the present size is told from 0."""
    if not fit.a or not fit.se_a:
        return None
    per_size = fit.n_runs / len(fit.batch_sizes)
    reach = stats.norm.isf((1 - confidence) / 2) + stats.norm.ppf(power)
    return max(1, math.ceil(per_size * (reach * fit.se_a / abs(fit.a)) ** 2 - per_size))


def _words(fit: ScalingFit, word: ScalingWord, needed: int | None) -> str:
    percent = f"{fit.confidence:.0%}"
    a = f"a = {fit.a:.3g}, {percent} CI [{fit.ci_a[0]:.3g}, {fit.ci_a[1]:.3g}]"  # type: ignore[index]
    b = f"b = {fit.b:.3g}, CI [{fit.ci_b[0]:.3g}, {fit.ci_b[1]:.3g}]"  # type: ignore[index]
    if word == "converges":
        return f"δH₁ converges to {a}; the 1/B_E part is not there ({b})"
    if word == "scales_as_1/B_E":
        return f"δH₁ scales as 1/B_E: {b}, p = {fit.p_b:.2g}; nothing remains at large B_E ({a})"
    if word == "finite_batch_bias":
        return f"δH₁ depends on B_E: {b}, p = {fit.p_b:.2g}, besides {a}"
    more = "" if needed is None else f"; about {needed} more runs per B_E would decide, or a wider range of B_E"
    return f"cannot tell from {fit.n_prompts} prompts: {a}; {b}{more}"


def _outcome(fit: ScalingFit, verdict: Verdict, alpha: float, reason: str) -> CheckOutcome:
    reach = None if fit.se_b is None else fit.se_b * float(stats.norm.isf(alpha / 2) + stats.norm.ppf(0.95))
    return CheckOutcome(
        name="convergence",
        null="delta_h1 does not depend on B_E (b = 0)",
        statistic=None if not fit.se_b or fit.b is None else fit.b / fit.se_b,
        p_value=fit.p_b,
        alpha=alpha,
        effect=fit.b,
        ci=fit.ci_b,
        unit="nats/response x B_E",
        n=fit.n_prompts,
        verdict=verdict,
        smallest_detectable=reach,
        declared_effect=None,
        samples_needed=None,
        points_to=reason if verdict == "inconclusive" else "s_n divided by B_E twice, or a V-statistic whose diagonal "
        "was kept, or the same batch used for E and U",
    )  # fmt: skip


def check_se_slope(runs: Sequence[RunScalars], *, alpha: float, rng: np.random.Generator) -> CheckOutcome:
    """log SE on log B_E has slope -1/2; the null distribution comes from shuffling scalars over the runs.

    Exact under exchangeable prompts, whatever their tails.  Inconclusive with one B_E or constant scalars.
    """
    values = [r.scale * np.asarray(r.s, dtype=float) for r in runs]
    sizes = np.array([len(v) for v in values])
    null = "the standard error shrinks as B_E to the power -1/2"
    points_to = "a standard error that is not of the mean: missing or doubled division by B_E, or dependent prompts"
    pooled = np.concatenate(values)
    if len(set(sizes.tolist())) < 2 or any(v.std() == 0 for v in values):
        return CheckOutcome(
            "se_slope", null, None, None, alpha, None, None, "slope", len(runs), "inconclusive", None, -0.5, None,
            points_to,
        )  # fmt: skip
    x = np.log(sizes) - np.log(sizes).mean()

    def slope(table: np.ndarray) -> np.ndarray:
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        means = np.add.reduceat(table, starts, axis=1) / sizes
        squares = np.add.reduceat(np.square(table), starts, axis=1)
        variance = np.maximum((squares / sizes - np.square(means)) / (sizes - 1), 1e-300)
        return (0.5 * np.log(variance)) @ x / (x @ x)

    centred = pooled - pooled.mean()
    seen = float(slope(centred[None])[0])
    draws = int(min(100_000, max(2000, math.ceil(40 / alpha))))
    per_batch = max(1, 4_000_000 // len(pooled))
    shuffled = np.concatenate(
        [
            slope(rng.permuted(np.broadcast_to(centred, (min(per_batch, draws - done), len(centred))), axis=1))
            for done in range(0, draws, per_batch)
        ]
    )
    p = min(1.0, 2 * (1 + min((shuffled >= seen).sum(), (shuffled <= seen).sum())) / (1 + draws))
    low, high = np.quantile(shuffled, [0.025, 0.975]) - np.median(shuffled)
    return CheckOutcome(
        "se_slope", null, seen, float(p), alpha, seen, (seen - float(high), seen - float(low)), "slope", len(runs),
        "fail" if p < alpha else "pass", float((high - low) / 2), -0.5, None, points_to,
    )  # fmt: skip


def seed_fields(runs: Sequence[RunScalars], verdict: str) -> dict[str, Any]:
    """The predecessor's fields: statistics per B_E, and the ratios it judged by, beside the verdict that counts."""
    sizes = sorted({r.B_E for r in runs})
    per_size = {size: [r for r in runs if size == r.B_E] for size in sizes}
    means = {size: float(np.mean([r.delta for r in rs])) for size, rs in per_size.items()}
    ratio = None
    if len(sizes) > 1 and means[sizes[-1]] != 0:
        ratio = abs(means[sizes[0]] / means[sizes[-1]])
    return {
        "batch_statistics": {str(size): _batch(rs, means[size]) for size, rs in per_size.items()},
        "observed_ratio": ratio,
        "expected_if_1_over_B_E": sizes[-1] / sizes[0],
        "suggests_convergence": verdict == "converges",
        "suggests_1_over_B_E_scaling": verdict == "scales_as_1/B_E",
    }


def _batch(runs: list[RunScalars], mean: float) -> dict[str, Any]:
    deltas = np.array([r.delta for r in runs])
    errors = [abs(r.scale) * float(np.std(r.s, ddof=1)) / math.sqrt(r.B_E) for r in runs]
    ratio, label = signal_to_noise(mean, float(np.mean(errors)))
    return {
        "runs": len(runs),
        "mean_delta_h1": mean,
        # A spread from one run is unknown, not zero.
        "std_delta_h1": float(deltas.std(ddof=1)) if len(runs) > 1 else None,
        "mean_se": float(np.mean(errors)),
        "signal_to_noise": ratio,
        "signal_to_noise_label": label,
        "values": deltas.tolist(),
    }
