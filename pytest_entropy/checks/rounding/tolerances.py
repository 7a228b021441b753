"""Tolerances of exact comparisons: roundings of the weights' type or, where it is coarse, noise measured in the run."""

from __future__ import annotations

from pytest_entropy.checks.base import Runs, numbers
from pytest_entropy.records.measured import Measured

# Relative to the sum of absolute contributions; float32 passes of different shape agree to 1e-5 of it.
SCALAR_TOLERANCE, SCALAR_ROUNDINGS = 1e-3, 16
# The noise floor is measured: FLOOR_FACTOR times the largest discrepancy between a batch and its prompts computed
# alone, at least FLOOR_ROUNDINGS of the weights' type, and at most the cap, so that a fault cannot raise its own floor.
FLOOR_FACTOR, FLOOR_ROUNDINGS, FLOOR_CAP, CAP_ROUNDINGS = 30, 64, 5e-4, 32
# Weights of a larger unit roundoff than this are coarser than float32, and the noise of their rounding is measured by
# the bare model: tolerances are so many times that, and at most the roundings above.
COARSE, NOISES, SCALAR_NOISES = 1e-6, 6, 4
# A mean over responses is off by less than one response.
MEAN_NOISES = 2
ALONE = ("agreement.alone_log_probs", "agreement.alone_entropies")
ROUNDING = "agreement.rounding"
NOISE = ("agreement.noise_log_probs", "agreement.noise_entropies")
SCALAR_NOISE, NATS_NOISE = "agreement.noise_scalars", "agreement.noise_nats"
# What :func:`noise_cap`, :func:`noise_floor`, :func:`scalar_tolerance` and :func:`nats_tolerance` read.
CAP_NEEDS = (ROUNDING, *NOISE)
FLOOR_NEEDS = ("asked", *ALONE, *CAP_NEEDS)
SCALAR_NEEDS = (ROUNDING, SCALAR_NOISE)
NATS_NEEDS = (ROUNDING, NATS_NOISE, "agreement.entropy_sampled")


def rounding(runs: Runs) -> float:
    """Largest unit roundoff of the runs' weights, relative.

    Raises:
        Missing: a run did not record it.
    """
    return max(numbers(runs, ROUNDING))


def noise_floor(runs: Runs) -> float:
    """The largest difference, in nats, between two correct computations of one log-probability in these runs."""
    # Where weights are coarse, what the batch differs by from its prompts alone is itself in question.
    if coarse(runs):
        return noise_cap(runs)
    with_floor = [run for run in runs if run.was_asked("definition")]
    # Where no run was asked to measure the floor, the cap alone is used.
    if not with_floor:
        return noise_cap(runs)
    measured = max(FLOOR_FACTOR * max(numbers(with_floor, *ALONE)), FLOOR_ROUNDINGS * rounding(runs))
    return min(measured, noise_cap(runs))


def noise_cap(runs: Runs) -> float:
    """The upper bound of the noise floor, in nats, so that a fault cannot raise its own floor."""
    measured = [NOISES * max(numbers(rough, *NOISE))] if (rough := coarse(runs)) else []
    return max(FLOOR_CAP, min([CAP_ROUNDINGS * rounding(runs), *measured]))


def scalar_tolerance(runs: Runs) -> float:
    """The largest difference between two correct computations of s_n, relative to its absolute contributions."""
    measured = [SCALAR_NOISES * max(numbers(rough, SCALAR_NOISE))] if (rough := coarse(runs)) else []
    return max(SCALAR_TOLERANCE, min([SCALAR_ROUNDINGS * rounding(runs), *measured]))


def nats_tolerance(run: Measured, least: float) -> float:
    """The largest difference between two correct computations of a mean entropy, relative to it.

    Args:
        run: the run.
        least: the tolerance of exact weights.
    """
    most = SCALAR_ROUNDINGS * rounding([run])
    if coarse([run]):
        nats = run.number("agreement.entropy_sampled")
        most = min(most, MEAN_NOISES * run.number(NATS_NOISE) / nats) if nats > 0 else most
    return max(least, most)


def coarse(runs: Runs) -> list[Measured]:
    """The runs whose weights are coarser than float32, and whose noise is therefore measured.

    Raises:
        Missing: a run did not record its weights' unit roundoff.
    """
    return [run for run in runs if run.number(ROUNDING) > COARSE]
