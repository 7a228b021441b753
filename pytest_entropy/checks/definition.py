"""s_n of one prompt per run, by every estimator, equals the estimator's definition computed in plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_entropy.checks.base import Check, Given, Runs, exact, numbers
from pytest_entropy.checks.rounding.tolerances import SCALAR_NEEDS, rounding, scalar_tolerance
from pytest_entropy.stats import CheckOutcome

# LOST bounds the relative rounding error of s_n in units of tokens x roundoff / nats (measured: a tenth of it); from
# BLIND on that error hides a fault of order one.
LOST, BLIND = 1.0, 0.25


def lost_digits(runs: Runs) -> float:
    """Relative rounding error of s_n where nearly all probability lies on one token.

    Each token's logits have derivatives of about 1 - max pi, of which float32 keeps no less than its unit roundoff: so
    tokens x roundoff is lost of what adds up to the nats of a response, within the factor ``LOST``.
    """
    worst = 0.0
    for run in runs:
        nats, tokens = run.number("agreement.entropy_sampled"), run.number("agreement.length_sampled")
        # The policy's numbers are float32 at best, unless all of the model is float64.
        unit = min(rounding([run]), float(np.finfo(np.float32).eps))
        worst = max(worst, LOST * unit * tokens / nats if nats > 0 else float("inf"))
    return worst


def judge(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    """Judge the discrepancies from the definition, against the digits that rounding leaves."""
    moves = any(run.scalars("per_prompt").any() for run in runs)
    lost = lost_digits(runs)
    outcome = exact(
        check,
        numbers(runs, "agreement.definition"),
        noise_floor=max(scalar_tolerance(runs), min(lost, BLIND)),
        unit="relative to the sum of absolute contributions",
    )
    if lost < BLIND or not moves:
        return outcome
    # Rounding this large hides a fault of order one, and may be the whole discrepancy.
    reason = (
        "probabilities this close to 1 (a policy that has all but collapsed) leave s_n no more digits in this "
        "precision than a fault would change; compute in --dtype float64"
    )
    return replace(outcome, verdict="inconclusive", reason=reason)


CHECK = Check(
    name="definition",
    claim="s_n equals <X_n, u> computed from the estimator's definition, one unpadded response at a time",
    likely_causes="entropy-to-go off by a position, a wrong baseline, action values of another context or without "
    "their expectation, sign or factor in the estimator, positions or masks under left padding, or a module whose "
    "parameters the fast derivative misses",
    needs=(
        "asked",
        "agreement.definition",
        "agreement.entropy_sampled",
        "agreement.length_sampled",
        *SCALAR_NEEDS,
        "per_prompt",
    ),
    judge=judge,
    asks=("definition",),
)
