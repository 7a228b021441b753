"""Which steps of an eta sweep are trusted, and the entropy's slope and curvature at step 0 from them, by prompt.

Delta(h)/h = H' + (H''/2) h + ... along the update direction (docs/mathematics.md §7), in nats per response.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats.intervals import two_sided_quantile

if TYPE_CHECKING:
    from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep

# The arrays of a run in which its sweep is stored.
SWEEP_ARRAYS = tuple(
    f"sweep_{name}"
    for name in (
        "eta", "unit", "steps", "change", "self_normalised", "ess", "group_ess", "khat", "rounding", "floor",
        "fresh_steps", "fresh", "fresh_changed",
    )
)  # fmt: skip
# Bounds on the importance weights, on numerical noise and on the step's rounding, within which a slope is trusted.
SMALLEST_ESS, LARGEST_KHAT, LARGEST_NOISE, LARGEST_ROUNDING = 0.5, 0.7, 0.1, 0.05
# Two of each sign: odd terms cancel in the curvature, even ones in the slope, up to the fourth order in the step.
MOST_POINTS = 4


def sweep_of(run: RunRecord) -> EtaSweep | None:
    """The run's eta sweep; None where it has none."""
    return sweep_from(run.arrays) if all(name in run.arrays for name in SWEEP_ARRAYS) else None


def sweep_from(arrays: Mapping[str, np.ndarray]) -> EtaSweep:
    """The eta sweep that the arrays ``SWEEP_ARRAYS`` hold.

    Raises:
        ValueError: an array is missing.
    """
    from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep  # needs torch, which collection must not load

    sweep = EtaSweep.from_arrays(arrays)
    if sweep is None:
        raise ValueError(f"an eta sweep consists of {', '.join(SWEEP_ARRAYS)}; given: {', '.join(arrays) or 'none'}")
    return sweep


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.square(values).mean()))


def distrust(sweep: EtaSweep) -> list[str]:
    """Why each step's slope is not trusted, in words; empty for a step that is (docs/mathematics.md §7)."""
    noise = rms(sweep.floor) / np.abs(sweep.steps)
    reasons = []
    for j, h in enumerate(sweep.steps):
        slope = sweep.change[j] / h
        ess = min(float(sweep.ess[j]), float(sweep.group_ess[j]))
        if not np.isfinite(slope).all():
            reason = "importance weights overflow"
        elif ess < SMALLEST_ESS:
            reason = f"effective sample size {ess:.0%} of the responses"
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
    """Coefficients c_k ``[J, P]`` of Delta_n(h)/h = sum_k c_kn h^k through all J steps, for each prompt.

    c_0 is the slope at step 0 and 2 c_1 the second derivative, both in nats per response and units of eta.

    Args:
        steps: h ``[J]``, distinct and not 0, in units of eta.
        change: Delta_n(h) ``[J, P]``, nats per response.
    """
    scale = np.abs(steps).max()
    powers = (steps / scale)[:, None] ** np.arange(len(steps))
    scaled = np.linalg.solve(powers, change / steps[:, None])
    coefficients: np.ndarray = scaled / scale ** np.arange(len(steps))[:, None]
    return coefficients


@dataclass(frozen=True)
class SweepFit:
    """Slope at step 0 and half the second derivative of each prompt ``[P]``, and the steps of the polynomial."""

    intercepts: np.ndarray
    slopes: np.ndarray
    steps: np.ndarray


def fit(sweep: EtaSweep) -> SweepFit | None:
    """The polynomial through the (up to four) trusted points nearest to 0; None with fewer than two."""
    trusted = [j for j, reason in enumerate(distrust(sweep)) if not reason]
    used = sorted(trusted, key=lambda j: (abs(sweep.steps[j]), sweep.steps[j]))[:MOST_POINTS]
    if len(used) < 2:
        return None
    coefficients = polynomial(sweep.steps[used], sweep.change[used])
    return SweepFit(coefficients[0], coefficients[1], sweep.steps[used])


def second_order_share(fitted: SweepFit, eta: float, *, confidence: float) -> tuple[float, float | None, float | None]:
    """(low, estimate, high) of |H'' eta / 2 H'|: the second-order term of a step as a share of the first.

    Fieller's interval (1954) for a ratio of two means of the same prompts; ``high`` is None where H' may be 0.  It
    keeps its level where the sample shows the spread of H'', which it does not always (docs/statistics.md).

    Args:
        fitted: slope and half the second derivative of each prompt.
        eta: the step.
        confidence: of the interval, in (0, 1).
    """
    a, b = fitted.intercepts, fitted.slopes * eta
    n = len(a)
    (aa, ab), (_, bb) = np.cov(a, b, ddof=1) / n
    t = two_sided_quantile(confidence, n - 1)
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
