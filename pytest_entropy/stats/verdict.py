"""Converges, or scales as 1/B_E?  The verdict on a scaling fit, with error rates instead of thresholds (§6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from pytest_entropy.stats.outcome import CheckOutcome, Verdict, require, require_rates
from pytest_entropy.stats.scaling import RunScalars, ScalingFit, fit_scaling, least_squares_rows
from pytest_entropy.stats.signal import format_measure

NULL = "delta_h1 does not depend on B_E (b = 0)"
LIKELY_CAUSES = "s_n divided by B_E twice, or a V-statistic whose diagonal was kept, or the same batch used for E and U"
ScalingWord = Literal["converges", "scales_as_1/B_E", "finite_batch_bias", "inconclusive"]


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
    needs a != 0 at ``confidence`` (so that pure 1/B_E scaling passes with probability at most about
    1 - confidence) and a b whose interval covers 0, or with |b|/B_max < tolerance |a|.  Where ``alpha`` is
    below what the shuffles can tell, a red verdict was out of reach and the result is inconclusive.

    Raises:
        ValueError: alpha or confidence outside (0, 1), a negative tolerance.
    """
    require_rates(alpha=alpha, confidence=confidence)
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}, it must not be negative")
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
    elif fit.p_b_resolution is not None and fit.p_b_resolution > alpha:
        reason = (
            f"a false-alarm rate of {alpha:.2g} is below what {fit.n_prompts} prompts and the shuffles of them can tell"
        )
        return ScalingVerdict("inconclusive", _outcome(fit, "inconclusive", alpha, reason), reason, None)
    elif a_is_there and (b_may_be_zero or b_is_small):
        word = "converges"
    else:
        word = "inconclusive"
    needed = _more_runs(fit, alpha, confidence, a_is_there) if word == "inconclusive" else None
    reason = _words(fit, word, needed)
    verdict: Verdict = {"converges": "pass", "inconclusive": "inconclusive"}.get(word, "fail")  # type: ignore[assignment]
    return ScalingVerdict(word, _outcome(fit, verdict, alpha, reason), reason, needed)


def _more_runs(fit: ScalingFit, alpha: float, confidence: float, a_is_there: bool, power: float = 0.9) -> int | None:
    """Runs per B_E, beyond those there are, at which the part that is in doubt, of its present size, is told from 0."""
    value, se, rate = (fit.b, fit.se_b, alpha) if a_is_there else (fit.a, fit.se_a, 1 - confidence)
    if not value or not se:
        return None
    per_size = fit.n_runs / len(fit.batch_sizes)
    reach = float(scipy.stats.norm.isf(rate / 2) + scipy.stats.norm.ppf(power))
    return max(1, math.ceil(per_size * (reach * se / abs(value)) ** 2 - per_size))


def _words(fit: ScalingFit, word: ScalingWord, needed: int | None) -> str:
    assert fit.a is not None
    assert fit.b is not None
    percent = f"{fit.confidence:.0%}"
    a = f"a = {format_measure(fit.a, fit.se_a)}, {percent} CI [{fit.ci_a[0]:.3g}, {fit.ci_a[1]:.3g}]"  # type: ignore[index]
    b = f"b = {format_measure(fit.b, fit.se_b)}, CI [{fit.ci_b[0]:.3g}, {fit.ci_b[1]:.3g}]"  # type: ignore[index]
    if word == "converges":
        return f"δH₁ converges to {a}; the 1/B_E part is not there ({b})"
    if word == "scales_as_1/B_E":
        return f"δH₁ scales as 1/B_E: {b}, p = {fit.p_b:.2g}; nothing remains at large B_E ({a})"
    if word == "finite_batch_bias":
        return f"δH₁ depends on B_E: {b}, p = {fit.p_b:.2g}, besides {a}"
    more = "" if needed is None else f"; about {needed} more runs per B_E would decide, or a wider range of B_E"
    return f"cannot tell from {fit.n_prompts} prompts: {a}; {b}{more}"


def _outcome(fit: ScalingFit, verdict: Verdict, alpha: float, reason: str) -> CheckOutcome:
    reach = None if fit.se_b is None else fit.se_b * float(scipy.stats.norm.isf(alpha / 2) + scipy.stats.norm.ppf(0.95))
    return CheckOutcome(
        name="convergence",
        null=NULL,
        statistic=None if not fit.se_b or fit.b is None else fit.b / fit.se_b,
        p_value=fit.p_b,
        alpha=alpha,
        effect=fit.b,
        ci=fit.ci_b,
        unit="nats/response x B_E",
        n=fit.n_prompts,
        verdict=verdict,
        minimum_detectable_effect=reach,
        effect_of_interest=None,
        samples_needed=None,
        p_resolution=fit.p_b_resolution,
        likely_causes=reason if verdict == "inconclusive" else LIKELY_CAUSES,
    )  # fmt: skip


def check_convergence(
    runs: Sequence[RunScalars],
    *,
    alpha: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
    tolerance: float = 0.1,
) -> CheckOutcome:
    """:func:`fit_scaling` and :func:`scaling_verdict` as one check: delta_h1 does not depend on B_E."""
    require_rates(alpha=alpha, confidence=confidence)
    fit = fit_scaling(runs, confidence=confidence, alpha=alpha, rng=rng)
    return scaling_verdict(fit, alpha=alpha, confidence=confidence, tolerance=tolerance).outcome


def assert_convergence(
    runs: Sequence[RunScalars],
    *,
    alpha: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
    tolerance: float = 0.1,
) -> CheckOutcome:
    """:func:`check_convergence`, raising as :func:`pytest_entropy.stats.require` does."""
    __tracebackhide__ = True
    return require(check_convergence(runs, alpha=alpha, rng=rng, confidence=confidence, tolerance=tolerance))


def min_discrepancy_convergence(
    batch_sizes: Sequence[int], sigma: float, *, alpha: float, power: float = 0.95
) -> float:
    """The smallest |b| of a + b/B_E that runs of these ``batch_sizes`` (one entry per run) see.

    ``sigma`` is the spread of eta s_n over prompts; b has its unit times prompts.  Normal approximation.

    Raises:
        ValueError: fewer than two distinct B_E, a sigma that is not positive, alpha or power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    sizes = np.array(batch_sizes, dtype=float)
    if len(set(sizes.tolist())) < 2 or not (sizes > 0).all():
        raise ValueError(f"batch_sizes are {list(batch_sizes)}: b needs at least two distinct B_E, all positive")
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma is {sigma}, it must be positive and finite")
    se = sigma * math.sqrt(float((np.square(least_squares_rows(sizes)[1]) / sizes).sum()))
    return se * float(scipy.stats.norm.isf(alpha / 2) + scipy.stats.norm.ppf(power))


def min_num_samples_convergence(
    batch_sizes: Sequence[int], sigma: float, effect: float, *, alpha: float, power: float = 0.95
) -> int:
    """The number of runs at each of these (distinct) ``batch_sizes`` that see b = ``effect``."""
    if not (abs(effect) > 0 and math.isfinite(effect)):
        raise ValueError(f"effect is {effect}, it must be finite and not zero")
    one_each = min_discrepancy_convergence(batch_sizes, sigma, alpha=alpha, power=power)
    return max(1, math.ceil((one_each / abs(effect)) ** 2 * (1 - 1e-9)))
