"""Which steps of an eta sweep are to be trusted, and what they say of the entropy at step 0, prompt by prompt.

Delta(h)/h = H' + (H''/2) h + ... along the update direction (docs/mathematics.md §7), in nats per response.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from pytest_entropy.records.run import RunRecord

if TYPE_CHECKING:
    from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep

# The arrays of a run that its sweep consists of.
SWEEP_ARRAYS = tuple(
    f"sweep_{name}"
    for name in (
        "eta", "unit", "steps", "change", "self_normalised", "ess", "group_ess", "khat", "rounding", "floor",
        "fresh_steps", "fresh", "fresh_changed",
    )
)  # fmt: skip
# A point is trusted where importance weights, numerical noise and the step itself leave its slope alone.
SMALLEST_ESS, LARGEST_KHAT, LARGEST_NOISE, LARGEST_ROUNDING = 0.5, 0.7, 0.1, 0.05
# Two of each sign: odd terms leave the curvature, even ones the slope, up to the fourth order in the step.
MOST_POINTS = 4


def sweep_of(run: RunRecord) -> EtaSweep | None:
    """The run's sweep; None where it was not asked for."""
    return sweep_from(run.arrays) if all(name in run.arrays for name in SWEEP_ARRAYS) else None


def sweep_from(arrays: Mapping[str, np.ndarray]) -> EtaSweep:
    """The sweep that the arrays ``SWEEP_ARRAYS`` hold.

    Raises:
        ValueError: one of them is not there.
    """
    from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep  # needs torch, which collection must not load

    sweep = EtaSweep.from_arrays(arrays)
    if sweep is None:
        raise ValueError(f"an eta sweep consists of {', '.join(SWEEP_ARRAYS)}; there is {', '.join(arrays) or 'none'}")
    return sweep


def rms(values: np.ndarray) -> float:
    """The root mean square of ``values``."""
    return float(np.sqrt(np.square(values).mean()))


def distrust(sweep: EtaSweep) -> list[str]:
    """For each step why its slope is not to be trusted, in words; empty where it is."""
    noise = rms(sweep.floor) / np.abs(sweep.steps)
    reasons = []
    for j, h in enumerate(sweep.steps):
        slope = sweep.change[j] / h
        lacking = min(float(sweep.ess[j]), float(sweep.group_ess[j]))
        if not np.isfinite(slope).all():
            reason = "importance weights overflow"
        elif lacking < SMALLEST_ESS:
            reason = f"effective sample size {lacking:.0%} of the responses"
        elif sweep.khat[j] > LARGEST_KHAT:
            reason = f"tail of the importance weights k-hat = {sweep.khat[j]:.2f}"
        elif sweep.rounding[j] > LARGEST_ROUNDING:
            reason = f"the weights' precision changes the step by {sweep.rounding[j]:.0%}"
        elif noise[j] > LARGEST_NOISE * slope.std():
            reason = f"below the numerical noise floor of {rms(sweep.floor):.1e} nats"
        else:
            reason = ""
        reasons.append(reason)
    return reasons


def polynomial(steps: np.ndarray, change: np.ndarray) -> np.ndarray:
    """c_k ``[J, P]`` of Delta_n(h)/h = sum_k c_kn h^k through all J steps, for each prompt.

    c_0 is the slope at step 0 and 2 c_1 the second derivative.
    """
    scale = np.abs(steps).max()
    powers = (steps / scale)[:, None] ** np.arange(len(steps))
    scaled = np.linalg.solve(powers, change / steps[:, None])
    coefficients: np.ndarray = scaled / scale ** np.arange(len(steps))[:, None]
    return coefficients


@dataclass(frozen=True)
class SweepFit:
    """Slope at step 0 and half the second derivative of each prompt ``[P]``, and the steps they come from."""

    intercepts: np.ndarray
    slopes: np.ndarray
    steps: np.ndarray


def fit(sweep: EtaSweep) -> SweepFit | None:
    """Through the trusted points nearest to 0, at most four; None with fewer than two."""
    trusted = [j for j, reason in enumerate(distrust(sweep)) if not reason]
    used = sorted(trusted, key=lambda j: (abs(sweep.steps[j]), sweep.steps[j]))[:MOST_POINTS]
    if len(used) < 2:
        return None
    coefficients = polynomial(sweep.steps[used], sweep.change[used])
    return SweepFit(coefficients[0], coefficients[1], sweep.steps[used])


def second_order_share(fitted: SweepFit, eta: float, *, confidence: float) -> tuple[float, float | None, float | None]:
    """(low, estimate, high) of |H'' eta / 2 H'|: the second-order term of a step as a share of the first.

    Fieller's interval for a ratio of two means of the same prompts; ``high`` is None where H' may be 0.
    """
    a, b = fitted.intercepts, fitted.slopes * eta
    n = len(a)
    (aa, ab), (_, bb) = np.cov(a, b, ddof=1) / n
    t = float(scipy.stats.t.isf((1 - confidence) / 2, n - 1))
    mean_a, mean_b = float(a.mean()), float(b.mean())
    estimate = abs(mean_b / mean_a) if mean_a else None
    # Ratios r with |mean_b - r mean_a| <= t SE(b - r a): p r^2 - 2 q r + c <= 0.
    p, q, c = mean_a**2 - t**2 * aa, mean_a * mean_b - t**2 * ab, mean_b**2 - t**2 * bb
    if p <= 0:
        return 0.0, estimate, None
    root = math.sqrt(max(q**2 - p * c, 0.0))
    ends = ((q - root) / p, (q + root) / p)
    low = 0.0 if ends[0] <= 0 <= ends[1] else min(map(abs, ends))
    return low, estimate, max(map(abs, ends))
