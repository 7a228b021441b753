"""Equality of two computations up to a measured rounding error: the only check in which nothing is random.

It has no design partners: nothing is sampled, so the smallest discrepancy that it detects is the noise floor itself
and one difference suffices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pytest_entropy.stats.outcome import CheckOutcome, asserting


def check_within_noise(
    difference: ArrayLike, *, noise_floor: float, name: str, null: str, unit: str, likely_causes: str
) -> CheckOutcome:
    """Check that no absolute difference exceeds the noise floor; deterministic, so there is no error rate.

    Args:
        difference: differences of the two computations, any shape, in ``unit``.
        noise_floor: the largest absolute difference that rounding explains, in ``unit``.
        name, null, unit, likely_causes: as in :class:`CheckOutcome`.

    Returns:
        The outcome, without a p-value; its effect is the largest absolute difference, in ``unit``.

    Raises:
        ValueError: there are no differences, one is not finite, or the noise floor is negative.
    """
    gaps = np.abs(np.asarray(difference, dtype=float).ravel())
    if not gaps.size or np.isnan(gaps).any():
        raise ValueError(f"{name}: {'no differences' if not gaps.size else 'a difference is not a number'}")
    if np.isinf(gaps).any():
        raise ValueError(f"{name}: a difference is infinite, one of the two values compared is not finite")
    if not noise_floor >= 0:
        raise ValueError(f"{name}: the noise floor is {noise_floor}, it must not be negative")
    worst = float(gaps.max())
    return CheckOutcome(
        name=name,
        null=f"{null}, to {noise_floor:g} {unit}",
        statistic=worst,
        p_value=None,
        alpha=0.0,
        effect=worst,
        ci=None,
        unit=unit,
        n=int(gaps.size),
        verdict="pass" if worst <= noise_floor else "fail",
        minimum_detectable_effect=noise_floor,
        effect_of_interest=None,
        samples_needed=None,
        likely_causes=likely_causes,
    )


assert_within_noise = asserting(check_within_noise)
