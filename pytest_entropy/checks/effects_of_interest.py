"""The effect each statistical check of the runs has to be able to see: a sample that could not is inconclusive.

Every effect is that of a definite fault, in the unit of its check, estimated from the runs themselves.  Where the
derivative is exactly 0 (an update that moves nothing) there is no such effect, and the check is left with its p.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_entropy.checks.measured import array, per_prompt
from pytest_entropy.records.run import RunRecord

# The sampler every check of the sampler has to see: this share of the temperature.
TEMPERATURE = 0.7
ALTERNATIVE = f"temperature x {TEMPERATURE:g}"
# How much the logits then are too large.
TILT = 1 / TEMPERATURE - 1
# Spread of delta_h1 over its reported error: what a root of 10 prompts forgotten in the error amounts to.
CALIBRATION = 3.0


def wrong_sign(runs: Sequence[RunRecord]) -> float | None:
    """By how much one of two estimates of the derivative is off, in nats per unit of eta, if its sign is wrong."""
    return 2 * _derivative(runs) or None


def wrong_factor(runs: Sequence[RunRecord]) -> float | None:
    """By how much it is off if it is doubled, or missing."""
    return _derivative(runs) or None


def temperature_in_scores(runs: Sequence[RunRecord]) -> float | None:
    """The mean directional score of responses drawn at ``TEMPERATURE``, to the order of the tilt.

    With token probabilities in proportion to pi^(1 + tilt), E<grad log pi, u> is -tilt times the part sum_k <grad
    H_k, u> of the entropy's derivative; the whole derivative stands in for that part.
    """
    return TILT * _derivative(runs) or None


def temperature_in_ranks(runs: Sequence[RunRecord]) -> float | None:
    """The weighted mean shift of normal scores of responses drawn at ``TEMPERATURE``, to the order of the tilt.

    The mean surprisal of a token falls by tilt times its variance, that is by tilt sd_k of its own spreads; the
    check weighs tokens by sd_k.
    """
    spread = np.concatenate([array(run, "surprisal_sd") for run in runs])
    total = float(spread.sum())
    return TILT * float(np.square(spread).sum()) / total if total > 0 else None


def _derivative(runs: Sequence[RunRecord]) -> float:
    return abs(float(np.concatenate([per_prompt(run, "entropy_term") for run in runs]).mean()))
