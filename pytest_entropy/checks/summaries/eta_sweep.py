"""Does first order hold at the training step?  The entropy's slope at step 0, its curvature, and the step eta*.

Delta(h)/h = H' + (H''/2) h + ... along the update direction (docs/mathematics.md §7).  All sides are in nats per
response, of one policy along one direction, on the same responses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_entropy.checks.summaries.sweep_fit import SweepFit, distrust, fit, rms, second_order_share, sweep_of
from pytest_entropy.records.measured import Measured
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats.intervals import interval_of_mean

if TYPE_CHECKING:
    from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep

# With fewer changed responses, their spread over prompts is no standard error of the mean.
FEWEST_CHANGED = 50


@dataclass(frozen=True)
class SweepPoint:
    """One step of the ladder.

    Attributes:
        eta: the step.
        slope, se: Delta(eta)/eta without bias, nats per response per unit of eta, and its standard error over prompts.
        interval: of the slope; None with too few prompts.
        ess, group_ess: effective sample size as a share, of all weights together and averaged over groups.
        khat: Pareto shape k-hat of the weights' tail.
        slope_self_normalised, se_self_normalised: by self-normalised weights.
        trusted, note: whether the slope is trusted, and why not.
    """

    eta: float
    slope: float | None
    se: float | None
    ess: float
    group_ess: float
    khat: float | None
    slope_self_normalised: float | None
    se_self_normalised: float | None
    trusted: bool
    note: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class FreshSample:
    """One step at which responses were drawn anew.

    Attributes:
        eta: the step.
        slope, se: Delta(eta)/eta, nats per response per unit of eta, and its standard error over prompts.
        changed_responses: how many responses differ from those at step 0.
        trusted, note: whether the slope is trusted, and why not.
    """

    eta: float
    slope: float | None
    se: float | None
    changed_responses: int
    trusted: bool
    note: str


@dataclass(frozen=True)
class SweepRecord:
    """The result of an eta sweep; numbers in nats per response and units of eta.

    Attributes:
        training_eta: the training step.
        delta_h1_over_eta: the mean of <X_n, u>.
        noise_floor: numerical noise of one change.
        intercept, difference: the slope at step 0, and that minus ``delta_h1_over_eta``.
        delta_h2: the second derivative of the entropy along the direction.  It has no interval: a few
            prompts in a thousand can carry a third of it, and a sample without one does not show it
            (docs/statistics.md).
        confidence: of the intervals.
        intercept_interval: None with too few prompts.
        second_order_share: (low, estimate, high) of the second-order term of a step as a share of the first; a range
            from the spread that the sample shows, without a level, as ``delta_h2`` has none.
        eta_star: the step whose second-order term is as large as the first, with such a range (None: no bound).
        fitted_steps: the trusted steps that the polynomial goes through.
        verdict, reading: whether first order holds at the training step, in a word and in a line.
    """

    unit: str
    training_eta: float
    points: list[SweepPoint]
    fresh_samples: list[FreshSample]
    delta_h1_over_eta: float
    noise_floor: float
    confidence: float
    intercept: float | None = None
    intercept_se: float | None = None
    intercept_interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_se: float | None = None
    delta_h2: float | None = None
    delta_h2_se: float | None = None
    second_order_share: tuple[float, float | None, float | None] | None = None
    eta_star: float | None = None
    eta_star_interval: tuple[float, float | None] | None = None
    fitted_steps: list[float] | None = None
    verdict: str = ""
    reading: str = ""


def sweep_record(run: RunRecord, *, confidence: float, tolerance: float) -> SweepRecord:
    """The result of the run's eta sweep.

    Args:
        run: the record of a run with a sweep.
        confidence: of the intervals, in (0, 1).
        tolerance: the largest share of the second-order term at which first order holds.

    Raises:
        ValueError: the run has no sweep.
        Missing: the run has no <X_n, u>.
    """
    sweep = sweep_of(run)
    if sweep is None:
        raise ValueError("the run has no eta sweep: set eta_sweep.multiples, in mode two_batch")
    fitted, s = fit(sweep), Measured(run, ("entropy_term",)).scalars("entropy_term")
    reasons = distrust(sweep)
    out = SweepRecord(
        unit="nats per response",
        training_eta=float(sweep.eta),
        points=[_point(sweep, j, reasons[j], confidence) for j in range(len(sweep.steps))],
        fresh_samples=[_fresh(sweep, k) for k in range(len(sweep.fresh_steps))],
        delta_h1_over_eta=float(s.mean()),
        noise_floor=rms(sweep.floor),
        confidence=confidence,
        fitted_steps=[] if fitted is None else fitted.steps.tolist(),
    )
    if fitted is not None:
        out = _with_fit(out, fitted, s, confidence)
    verdict, reading = _read(out, tolerance)
    return replace(out, verdict=verdict, reading=reading)


def _with_fit(out: SweepRecord, fitted: SweepFit, s: np.ndarray, confidence: float) -> SweepRecord:
    eta, difference, curvature = out.training_eta, fitted.intercepts - s, 2 * fitted.slopes
    low, share, high = second_order_share(fitted, eta, confidence=confidence)
    return replace(
        out,
        intercept=float(fitted.intercepts.mean()),
        intercept_se=_se(fitted.intercepts),
        intercept_interval=interval_of_mean(fitted.intercepts, confidence=confidence),
        difference=float(difference.mean()),
        difference_se=_se(difference),
        delta_h2=float(curvature.mean()),
        delta_h2_se=_se(curvature),
        second_order_share=(low, share, high),
        eta_star=eta / share if share else None,
        eta_star_interval=(eta / high if high else 0.0, eta / low if low else None),
    )


def _read(out: SweepRecord, tolerance: float) -> tuple[str, str]:
    """Whether first order holds at the training step, in a word and in a line."""
    eta = out.training_eta
    if not out.points or out.second_order_share is None:
        return "untrusted", "eta sweep: fewer than two steps are trusted, see the points"
    low, share, high = out.second_order_share
    if share is None:
        return "undecided", "eta sweep: the entropy does not move along the update"
    at_eta = next(point for point in out.points if point.eta == eta)
    span = f"roughly {_percent(low)} to {_percent(high)}" if high is not None else f"roughly {_percent(low)} or more"
    term = f"the second-order term is {_percent(share)} of the first ({span})"
    star = f"η* = {out.eta_star:.2g}" if out.eta_star else "no curvature seen"
    doubt = "" if at_eta.trusted else f"; the slope at η itself is not trusted: {at_eta.note}"
    # The polynomial interpolates the training step where a trusted step lies beyond it.
    covered = at_eta.trusted or eta <= max(map(abs, out.fitted_steps or ()))
    if low > tolerance:
        verdict, words = "curvature", "curvature matters"
    elif high is not None and high <= tolerance and covered:
        verdict, words = "holds", "first order holds"
    else:
        verdict, words = "undecided", "whether first order holds is undecided"
    return verdict, f"{words} at η = {eta:.3g}: {term}, {star}{doubt}"


def _point(sweep: EtaSweep, j: int, reason: str, confidence: float) -> SweepPoint:
    h = float(sweep.steps[j])
    slope, se = _slope(h, sweep.change[j])
    normalised, normalised_se = _slope(h, sweep.self_normalised[j])
    return SweepPoint(
        eta=h,
        slope=slope,
        se=se,
        ess=float(sweep.ess[j]),
        group_ess=float(sweep.group_ess[j]),
        khat=_finite(sweep.khat[j]),
        slope_self_normalised=normalised,
        se_self_normalised=normalised_se,
        trusted=not reason,
        note=reason,
        interval=None if slope is None or se is None else interval_of_mean(sweep.change[j] / h, confidence=confidence),
    )


def _fresh(sweep: EtaSweep, k: int) -> FreshSample:
    changed, h = int(sweep.fresh_changed[k]), float(sweep.fresh_steps[k])
    few = changed < FEWEST_CHANGED
    note = f"only {changed} responses changed: too few for a standard error, take more prompts or a larger step"
    slope, se = _slope(h, sweep.fresh[k])
    return FreshSample(h, slope, se, changed_responses=changed, trusted=not few, note=note if few else "")


def _slope(h: float, change: np.ndarray) -> tuple[float | None, float | None]:
    with np.errstate(invalid="ignore", over="ignore"):
        return _finite(change.mean() / h), _finite(_se(change) / abs(h))


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 1e-3 or share == 0 else "<0.1%"


def _se(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
