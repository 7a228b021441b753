"""Does delta_h1 converge, or scale as 1/B_E?  The verdict on a scaling fit, by error rates (docs/mathematics.md §6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pytest_entropy.stats.intervals import too_few
from pytest_entropy.stats.outcome import CheckOutcome, Verdict, asserting, detectable_in_errors, require_rates
from pytest_entropy.stats.scaling import RunScalars, ScalingFit, fit_scaling, least_squares_rows
from pytest_entropy.stats.signal import format_measure

NULL = "delta_h1 does not depend on B_E (b = 0)"
LIKELY_CAUSES = "s_n divided by B_E twice, or a V-statistic whose diagonal was kept, or the same batch used for E and U"
ScalingWord = Literal["converges", "scales_as_1/B_E", "finite_batch_bias", "inconclusive"]


@dataclass(frozen=True)
class ScalingVerdict:
    """The verdict on a scaling fit.

    Attributes:
        verdict: in a word.
        outcome: as a check's outcome.
        reason: in a line.
        runs_needed: how many more runs per B_E would decide; None where it is decided or no number is known.
    """

    verdict: ScalingWord
    outcome: CheckOutcome
    reason: str
    runs_needed: int | None


def scaling_verdict(
    fit: ScalingFit, *, alpha: float, confidence: float = 0.95, tolerance: float = 0.1
) -> ScalingVerdict:
    """The verdict: delta_h1 converges, scales as 1/B_E, has another finite-batch bias, or it is inconclusive.

    A red verdict needs b != 0 at ``alpha``.  ``converges`` needs a != 0 at ``confidence`` (so that pure 1/B_E scaling
    passes with probability at most about 1 - confidence) and a b whose interval covers 0, or with |b|/B_max <
    tolerance |a|.  Where the shuffles cannot give a p-value below ``alpha``, the result is inconclusive.

    Args:
        fit: of delta_h1 = a + b/B_E.
        alpha: the check's share of the session's false-alarm budget, in (0, 1).
        confidence: that of the fit's intervals, in (0, 1).
        tolerance: the share of a that the finite-batch bias at the largest B_E may reach.

    Raises:
        ValueError: alpha or confidence lies outside (0, 1), or the tolerance is negative.
    """
    require_rates(alpha=alpha, confidence=confidence)
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}, it must not be negative")
    if fit.a is None or fit.b is None or fit.ci_a is None or fit.ci_b is None or fit.p_b is None:
        one_size = "one B_E alone cannot tell convergence from 1/B_E scaling; give several --be-values"
        reason = one_size if len(fit.batch_sizes) < 2 else f"cannot tell: {too_few(fit.n_prompts)}"
        return ScalingVerdict("inconclusive", _outcome(fit, "inconclusive", alpha, reason), reason, None)
    size = max(fit.batch_sizes)
    a_is_nonzero = not fit.ci_a[0] <= 0 <= fit.ci_a[1]
    b_may_be_zero = fit.ci_b[0] <= 0 <= fit.ci_b[1]
    b_is_small = abs(fit.b) / size < tolerance * abs(fit.a)
    word: ScalingWord
    if fit.p_b < alpha and not (a_is_nonzero and b_is_small):
        word = "finite_batch_bias" if a_is_nonzero else "scales_as_1/B_E"
    elif fit.p_b_resolution is not None and fit.p_b_resolution > alpha:
        reason = (
            f"a false-alarm rate of {alpha:.2g} is below the smallest p-value that shuffles of {fit.n_prompts} prompts "
            "can give"
        )
        return ScalingVerdict("inconclusive", _outcome(fit, "inconclusive", alpha, reason), reason, None)
    elif a_is_nonzero and (b_may_be_zero or b_is_small):
        word = "converges"
    else:
        word = "inconclusive"
    needed = _more_runs(fit, alpha, confidence, a_is_nonzero) if word == "inconclusive" else None
    reason = _words(fit, word, needed)
    verdict: Verdict = {"converges": "pass", "inconclusive": "inconclusive"}.get(word, "fail")  # type: ignore[assignment]
    return ScalingVerdict(word, _outcome(fit, verdict, alpha, reason), reason, needed)


def _more_runs(fit: ScalingFit, alpha: float, confidence: float, a_is_nonzero: bool, power: float = 0.9) -> int | None:
    """Further runs per B_E that would tell the parameter in doubt (b, or else a), at its present size, from 0."""
    value, se, rate = (fit.b, fit.se_b, alpha) if a_is_nonzero else (fit.a, fit.se_a, 1 - confidence)
    if not value or not se:
        return None
    per_size = fit.n_runs / len(fit.batch_sizes)
    z = detectable_in_errors(rate, power)
    return max(1, math.ceil(per_size * (z * se / abs(value)) ** 2 - per_size))


def _words(fit: ScalingFit, word: ScalingWord, needed: int | None) -> str:
    """The verdict in a line, with both parameters and their intervals."""
    assert fit.a is not None
    assert fit.b is not None
    percent = f"{fit.confidence:.0%}"
    a = f"a = {format_measure(fit.a, fit.se_a)}, {percent} CI [{fit.ci_a[0]:.3g}, {fit.ci_a[1]:.3g}]"  # type: ignore[index]
    b = f"b = {format_measure(fit.b, fit.se_b)}, CI [{fit.ci_b[0]:.3g}, {fit.ci_b[1]:.3g}]"  # type: ignore[index]
    if word == "converges":
        return f"δH₁ converges to {a}; no 1/B_E part that matters ({b})"
    if word == "scales_as_1/B_E":
        return f"δH₁ scales as 1/B_E: {b}, p = {fit.p_b:.2g}; nothing remains at large B_E ({a})"
    if word == "finite_batch_bias":
        return f"δH₁ depends on B_E: {b}, p = {fit.p_b:.2g}, besides {a}"
    runs = fit.n_runs // len(fit.batch_sizes)
    more = "" if needed is None else f"; to decide: --runs {runs + needed}, or a wider range of --be-values"
    return f"cannot tell from {fit.n_prompts} prompts: {a}; {b}{more}"


def _outcome(fit: ScalingFit, verdict: Verdict, alpha: float, reason: str) -> CheckOutcome:
    detectable = None
    if fit.se_b is not None:
        detectable = fit.se_b * detectable_in_errors(alpha, 0.95)
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
        minimum_detectable_effect=detectable,
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
    """Check that delta_h1 does not depend on B_E: :func:`fit_scaling`, then :func:`scaling_verdict`.

    Args:
        runs: scalars ``[B_E]`` and scale of each.
        rng: source of the shuffles and resamples.
        alpha, confidence, tolerance: as in :func:`scaling_verdict`.
    """
    require_rates(alpha=alpha, confidence=confidence)
    fit = fit_scaling(runs, confidence=confidence, alpha=alpha, rng=rng)
    return scaling_verdict(fit, alpha=alpha, confidence=confidence, tolerance=tolerance).outcome


assert_convergence = asserting(check_convergence)


def min_discrepancy_convergence(
    batch_sizes: Sequence[int], sigma: float, *, alpha: float, power: float = 0.95
) -> float:
    """The smallest |b| of a + b/B_E, in the unit of ``sigma`` times prompts, that runs of these sizes detect.

    Normal approximation.

    Args:
        batch_sizes: B_E of each run, one entry per run.
        sigma: the spread of eta s_n over prompts, in nats.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: fewer than two distinct B_E, a B_E or sigma that is not positive, alpha or power outside (0, 1).
    """
    require_rates(alpha=alpha, power=power)
    sizes = np.array(batch_sizes, dtype=float)
    if len(set(sizes.tolist())) < 2 or not (sizes > 0).all():
        raise ValueError(f"batch_sizes are {list(batch_sizes)}: b needs at least two distinct B_E, all positive")
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma is {sigma}, it must be positive and finite")
    se = sigma * math.sqrt(float((np.square(least_squares_rows(sizes)[1]) / sizes).sum()))
    return se * detectable_in_errors(alpha, power)


def min_num_samples_convergence(
    batch_sizes: Sequence[int], sigma: float, effect: float, *, alpha: float, power: float = 0.95
) -> int:
    """The number of runs at each B_E that detect b = ``effect``.

    Inverts :func:`min_discrepancy_convergence`.

    >>> min_num_samples_convergence([8, 32, 128], 1.0, 8.0, alpha=0.01)
    3

    Args:
        batch_sizes: the distinct B_E.
        sigma: the spread of eta s_n over prompts, in nats.
        effect: b, in the unit of ``sigma`` times prompts.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: the effect is 0 or not finite.
    """
    if not (abs(effect) > 0 and math.isfinite(effect)):
        raise ValueError(f"effect is {effect}, it must be finite and not zero")
    one_each = min_discrepancy_convergence(batch_sizes, sigma, alpha=alpha, power=power)
    return max(1, math.ceil((one_each / abs(effect)) ** 2 * (1 - 1e-9)))
