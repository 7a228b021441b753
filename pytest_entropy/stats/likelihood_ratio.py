"""Were tokens sampled from the policy, or from one of several named other samplers?  Exact at any number of draws.

Under the null hypothesis a likelihood ratio has mean 1, and so has the average of several; by Markov's inequality it
exceeds 1/alpha with probability at most alpha (an e-value: Vovk & Wang 2021, Ann. Stat. 49, 1736).  No independence,
normality or sample size is assumed: draws may depend on each other in any way, as long as each ratio is the
conditional one given the earlier draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import scipy

from pytest_entropy.stats.outcome import CheckOutcome, asserting, verdict_of


def check_likelihood_ratio(
    log_ratios: Mapping[str, float],
    expected: Mapping[str, float],
    *,
    alpha: float,
    name: str,
    null: str,
    likely_causes: str,
    n: int,
    declared: str | None = None,
    power: float = 0.95,
) -> CheckOutcome:
    """One test against all named alternatives at once: p = 1 / mean_j exp(log ratio_j).

    Args:
        log_ratios: by alternative q, sum log q/p over all draws, in nats; -inf where q rules a draw out.
        expected: by alternative, the mean of that sum if q were true: sum KL(q || p), in nats.
        alpha, power: false-alarm rate, and chance of detecting ``declared``, both in (0, 1).
        name, null, likely_causes: as in :class:`CheckOutcome`.
        n: the number of draws.
        declared: the alternative that must be detectable; inconclusive where the draws could not show it.

    Returns:
        The outcome; its effect is the largest log ratio, and its minimum detectable effect the expected evidence that
        is enough, both in nats.

    Raises:
        ValueError: the two tables differ in their alternatives, are empty or hold a NaN, or ``declared`` is unknown.
    """
    _require_tables(name, log_ratios, expected, declared)
    log_mean = float(scipy.special.logsumexp(list(log_ratios.values()))) - math.log(len(log_ratios))
    p = math.exp(min(0.0, -log_mean))
    enough = min_discrepancy_likelihood_ratio(len(log_ratios), alpha=alpha, power=power)
    best = max(log_ratios, key=lambda q: log_ratios[q])
    interest = None if declared is None else expected[declared]
    blind = interest is not None and interest < enough
    verdict = verdict_of(p, alpha, blind=blind)
    return CheckOutcome(
        name, null, log_mean if math.isfinite(log_mean) else None, p, alpha,
        log_ratios[best] if math.isfinite(log_ratios[best]) else None, None, f"nats of evidence for {best}", n, verdict,
        enough, interest, math.ceil(n * enough / interest) if blind and interest and interest > 0 else None,
        likely_causes + (f"; these draws fit best: {best}" if verdict == "fail" else _unseen(expected, enough)),
    )  # fmt: skip


def _unseen(expected: Mapping[str, float], enough: float) -> str:
    """Names the alternatives that these draws are too few to show, for the report."""
    invisible = [q for q, nats in expected.items() if nats < enough]
    return f"; too few draws to see: {', '.join(invisible)}" if invisible else ""


def _require_tables(
    name: str, log_ratios: Mapping[str, float], expected: Mapping[str, float], declared: str | None
) -> None:
    if not log_ratios or set(log_ratios) != set(expected):
        raise ValueError(f"{name}: log ratios and expected evidence must name the same alternatives, at least one")
    if any(math.isnan(value) for value in (*log_ratios.values(), *expected.values())):
        raise ValueError(f"{name}: a log ratio is not a number")
    if declared is not None and declared not in expected:
        raise ValueError(f"{name}: no alternative {declared!r}; known: {', '.join(expected)}")


def min_discrepancy_likelihood_ratio(alternatives: int, *, alpha: float, power: float = 0.95) -> float:
    """The expected evidence in nats, sum KL(q || p), at which a true alternative q is detected.

    The log ratio under q is taken as normal with mean K and variance 2K (exact for small distortions).

    Args:
        alternatives: how many are tested at once.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: there is no alternative, or alpha or power lies outside (0, 1).
    """
    if alternatives < 1 or not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError(f"alternatives {alternatives}, alpha {alpha}, power {power}: need >= 1 and two in (0, 1)")
    z, needed = max(0.0, float(scipy.stats.norm.ppf(power))), math.log(alternatives / alpha)
    # K - z sqrt(2K) = needed, solved for sqrt(K).
    return ((z * math.sqrt(2) + math.sqrt(2 * z**2 + 4 * needed)) / 2) ** 2


def min_num_samples_likelihood_ratio(
    nats_per_draw: float, alternatives: int, *, alpha: float, power: float = 0.95
) -> int:
    """The number of draws that detect an alternative worth ``nats_per_draw`` of evidence each.

    Inverts :func:`min_discrepancy_likelihood_ratio`.

    Args:
        nats_per_draw: KL(q || p) of one draw, in nats.
        alternatives: how many are tested at once.
        alpha, power: false-alarm rate, and chance of detection, both in (0, 1).

    Raises:
        ValueError: ``nats_per_draw`` is not positive.
    """
    if not nats_per_draw > 0:
        raise ValueError(f"nats_per_draw is {nats_per_draw}, it must be positive")
    return math.ceil(min_discrepancy_likelihood_ratio(alternatives, alpha=alpha, power=power) / nats_per_draw)


assert_likelihood_ratio = asserting(check_likelihood_ratio)
