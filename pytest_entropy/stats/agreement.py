"""Equality up to a measured rounding error: the one check without chance.

It has no design partners: nothing is sampled, so the smallest discrepancy it sees is the noise floor itself and
one difference suffices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pytest_entropy.stats.outcome import CheckOutcome, require


def check_within_noise(
    difference: ArrayLike, *, noise_floor: float, name: str, null: str, unit: str, likely_causes: str
) -> CheckOutcome:
    """Largest absolute difference against a noise floor; deterministic, so no error rate.

    Raises:
        ValueError: no differences, one that is not finite, or a negative noise floor.
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


def assert_within_noise(
    difference: ArrayLike, *, noise_floor: float, name: str, null: str, unit: str, likely_causes: str
) -> CheckOutcome:
    """:func:`check_within_noise`, raising as :func:`pytest_entropy.stats.require` does."""
    __tracebackhide__ = True
    return require(
        check_within_noise(
            difference, noise_floor=noise_floor, name=name, null=null, unit=unit, likely_causes=likely_causes
        )
    )  # fmt: skip
