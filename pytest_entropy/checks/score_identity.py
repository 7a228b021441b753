"""E[<grad log pi(t), u>] = 0, clustered by prompt: the scorer's policy is the sampler's (docs/mathematics.md §8)."""

from __future__ import annotations

from pytest_entropy.checks.base import ETA, SURPRISES, TILT, Check, Given, Runs, joined, mean_derivative, mean_zero
from pytest_entropy.stats import CheckOutcome


def temperature_in_scores(runs: Runs) -> float | None:
    """The mean directional score of responses drawn at ``TEMPERATURE``, to the order of the tilt, times eta, in nats
    per response.

    With token probabilities in proportion to pi^(1 + tilt), E<grad log pi, u> is -tilt times the part sum_k <grad
    H_k, u> of the entropy's derivative; the whole derivative stands in for that part.
    """
    return TILT * mean_derivative(runs) or None


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the mean of the directional scores of all prompts."""
    return mean_zero(check, runs, given, joined(runs, "diagnostics.score"))


CHECK = Check(
    name="score_identity",
    claim="the mean directional score E[<grad log pi, u>] is 0",
    likely_causes="sampler and scorer differ: temperature, top-k/top-p, repetition penalty, dropout, positions under "
    "left padding, or another adapter",
    needs=("asked", "diagnostics.score", "entropy_term", SURPRISES, ETA),
    judge=judge,
    asks=("score",),
    statistical=True,
    effect=temperature_in_scores,
)
