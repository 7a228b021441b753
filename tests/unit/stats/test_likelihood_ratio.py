"""The e-value test: its level by simulation of the worst case, its power, its edges."""

from __future__ import annotations

import math
from typing import Any, TypedDict

import numpy as np
import pytest

from pytest_entropy import stats
from pytest_entropy.stats.outcome import CheckOutcome
from tests.present import present


class Settings(TypedDict):
    name: str
    null: str
    likely_causes: str
    n: int


SETTINGS: Settings = {"name": "lr", "null": "draws are the policy's", "likely_causes": "a sampler", "n": 1000}


def check(
    ratios: dict[str, float], expected: dict[str, float] | None = None, alpha: float = 1e-3, **more: Any
) -> CheckOutcome:
    return stats.check_likelihood_ratio(
        ratios, expected or dict.fromkeys(ratios, 50.0), alpha=alpha, **SETTINGS, **more
    )


def test_no_evidence_passes_and_strong_evidence_names_the_sampler() -> None:
    assert check({"a": -3.0, "b": -math.inf}).verdict == "pass"
    assert check({"a": -math.inf, "b": -math.inf}).p_value == 1.0
    with pytest.raises(stats.StatisticalFailure, match="these draws fit best: b"):
        stats.assert_likelihood_ratio({"a": -3.0, "b": 9.0}, {"a": 1.0, "b": 9.0}, alpha=1e-3, **SETTINGS)
    # Two alternatives share the evidence: exp(7.2)/2 is not enough, exp(7.7)/2 is.
    assert check({"a": 7.2, "b": -50.0}).verdict == "pass"
    assert check({"a": 7.7, "b": -50.0}).verdict == "fail"


def test_what_could_not_be_seen_is_said() -> None:
    outcome = check({"a": 0.0, "b": 0.0}, {"a": 0.1, "b": 99.0})
    assert outcome.verdict == "pass"
    assert "too few draws to see: a" in outcome.likely_causes
    blind = check({"a": 0.0, "b": 0.0}, {"a": 0.1, "b": 99.0}, declared="a")
    assert blind.verdict == "inconclusive"
    assert blind.samples_needed == math.ceil(1000 * present(blind.minimum_detectable_effect) / 0.1)


@pytest.mark.slow
def test_level_holds_for_coin_flips_and_power_is_as_planned() -> None:
    """q = N(mu, 1) against p = N(0, 1), n draws: rejections under p at most alpha, under q at least 0.95."""
    rng, alpha, sessions = np.random.default_rng(5), 0.05, 20_000
    enough = stats.min_discrepancy_likelihood_ratio(1, alpha=alpha)
    n = stats.min_num_samples_likelihood_ratio(0.02, 1, alpha=alpha)
    assert n == math.ceil(enough / 0.02)
    mu = math.sqrt(2 * 0.02)  # KL(q || p) = mu^2 / 2
    sums = rng.normal(size=sessions) * math.sqrt(n)

    def rejections(shift: float) -> float:
        evidence = mu * (sums + shift * n) - n * mu**2 / 2
        return float(np.mean([check({"q": value}, alpha=alpha).verdict == "fail" for value in evidence]))

    # Six standard errors of a share over the sessions: a false alarm of this test is below 1e-8.
    assert rejections(0.0) <= alpha + 6 * math.sqrt(alpha / sessions)
    assert rejections(mu) >= 0.95 - 6 * math.sqrt(0.05 * 0.95 / sessions)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="at least one"):
        check({})
    with pytest.raises(ValueError, match="same alternatives"):
        check({"a": 1.0}, {"b": 1.0})
    with pytest.raises(ValueError, match="not a number"):
        check({"a": math.nan})
    with pytest.raises(ValueError, match="no alternative 'z'"):
        check({"a": 1.0}, declared="z")
    with pytest.raises(ValueError, match="must be positive"):
        stats.min_num_samples_likelihood_ratio(0.0, 3, alpha=0.1)
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        stats.min_discrepancy_likelihood_ratio(3, alpha=1.0)
