"""How far first order holds: the entropy's own slope at step 0 against delta_h1, its curvature, and the step eta*.

Delta(h)/h = H' + (H''/2) h + ... along the update direction (docs/mathematics.md §7).  All sides are in nats per
response, of one policy along one direction, on the same responses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from pytest_entropy.checks import effects_of_interest as declared
from pytest_entropy.checks.measured import Missing, not_measured, number, per_prompt
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome, check_mean_zero

if TYPE_CHECKING:
    from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep

# A point is trusted where importance weights, numerical noise and the step itself leave its slope alone.
SMALLEST_ESS, LARGEST_KHAT, LARGEST_NOISE, LARGEST_ROUNDING = 0.5, 0.7, 0.1, 0.05
# So many fresh responses must be others than before, for their spread to be that of the mean.
FEWEST_CHANGED = 50
# Two of each sign: odd terms leave the curvature, even ones the slope, up to the fourth order in the step.
MOST_POINTS = 4
UNIT = "nats per response per unit of eta"


def sweep_of(run: RunRecord) -> EtaSweep | None:
    """The run's sweep; None where it was not asked for."""
    from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep  # needs torch, which collection must not load

    return EtaSweep.from_arrays(run.arrays)


def distrust(sweep: EtaSweep) -> list[str]:
    """For each step why its slope is not to be trusted, in words; empty where it is."""
    noise = _rms(sweep.floor) / np.abs(sweep.steps)
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
            reason = f"below the numerical noise floor of {_rms(sweep.floor):.1e} nats"
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
    return np.linalg.solve(powers, change / steps[:, None]) / scale ** np.arange(len(steps))[:, None]


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


def intercept_check(run: RunRecord, *, alpha: float) -> CheckOutcome:
    """delta_h1 is the slope of the entropy itself at step 0: per-prompt intercepts minus s_n have mean 0.

    Raises:
        ValueError: the run has no sweep.
    """
    name = "eta_sweep_intercept"
    null = "the slope of the entropy along the update, extrapolated to step 0, is delta_h1 / eta"
    if sweep_of(run) is None and run.asked is not None and "eta_sweep" in run.asked:
        return not_measured(name, null, 1, f"B_E {run.B_E} run {run.run} has no eta sweep, or not all of one")
    sweep = _required(run)
    fitted = fit(sweep)
    if fitted is None or not sweep.change.any():
        why = "the update direction is zero, so that nothing moves along it"
        if fitted is None:
            reasons = "; ".join(f"at {h:.3g}: {r}" for h, r in zip(sweep.steps, distrust(sweep), strict=True) if r)
            why = f"no two steps to be trusted ({reasons}): give other eta_sweep.multiples"
        return CheckOutcome(
            name, null, None, None, alpha, None, None, UNIT, run.B_E, "inconclusive", None, None, None, why
        )  # fmt: skip
    try:
        term, surprises = per_prompt(run, "entropy_term"), number(run, "expected_surprises", of="")
    except Missing as missing:
        return not_measured(name, null, 1, str(missing))
    return check_mean_zero(
        fitted.intercepts - term,
        alpha=alpha,
        name=name,
        null=null,
        unit=UNIT,
        likely_causes="a sign or factor in the estimator, a wrong entropy-to-go, or a direction other than the one stepped",
        effect_of_interest=declared.wrong_factor([run]),
        expected_events=surprises,
    )


def record(run: RunRecord, *, confidence: float, tolerance: float) -> dict[str, Any]:
    """What the sweep says, as plain builtins; numbers in nats per response and units of eta.

    ``points`` hold the unbiased slope Delta(eta)/eta, its SE over prompts, the effective sample size as a share, and
    beside them the self-normalised one.  ``delta_h2`` is the second derivative of the entropy along the direction,
    ``eta_star`` the step whose second-order term is as large as the first, with a Fieller interval (None: no bound).

    Raises:
        ValueError: the run has no sweep.
    """
    sweep = _required(run)
    fitted, s = fit(sweep), per_prompt(run, "entropy_term")
    reasons = distrust(sweep)
    out: dict[str, Any] = {
        "unit": "nats per response",
        "training_eta": float(sweep.eta),
        "points": [_entry(sweep, j, reasons[j]) for j in range(len(sweep.steps))],
        "fresh_samples": [_fresh(sweep, k) for k in range(len(sweep.fresh_steps))],
        "delta_h1_over_eta": float(s.mean()),
        "noise_floor": _rms(sweep.floor),
        **dict.fromkeys(("intercept", "intercept_se", "difference", "difference_se", "delta_h2", "delta_h2_se")),
        **dict.fromkeys(("second_order_share", "eta_star", "eta_star_interval")),
        "fitted_steps": [] if fitted is None else fitted.steps.tolist(),
    }
    if fitted is not None:
        for name, values in (
            ("intercept", fitted.intercepts),
            ("difference", fitted.intercepts - s),
            ("delta_h2", 2 * fitted.slopes),
        ):
            out[name], out[name + "_se"] = float(values.mean()), _se(values)
        low, share, high = second_order_share(fitted, float(sweep.eta), confidence=confidence)
        out["second_order_share"] = [low, share, high]
        out["eta_star"] = float(sweep.eta) / share if share else None
        out["eta_star_interval"] = [
            float(sweep.eta) / high if high else 0.0,
            float(sweep.eta) / low if low else None,
        ]
    return {**out, **dict(zip(("verdict", "reading"), _read(out, tolerance), strict=True))}


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


def _read(out: dict[str, Any], tolerance: float) -> tuple[str, str]:
    """Where the training step lies, in a word and in a line."""
    eta = out["training_eta"]
    if not out["points"] or out["intercept"] is None:
        return "untrusted", "eta sweep: no two steps to be trusted, see the points"
    low, share, high = out["second_order_share"]
    if share is None:
        return "undecided", "eta sweep: the entropy does not move along the update"
    at_eta = next(point for point in out["points"] if point["eta"] == eta)
    span = f"{_percent(low)} to {_percent(high)}" if high is not None else f"{_percent(low)} or more"
    term = f"the second-order term is {_percent(share)} of the first ({span})"
    star = f"η* = {out['eta_star']:.2g}" if out["eta_star"] else "no curvature seen"
    doubt = "" if at_eta["trusted"] else f"; at η itself not to be trusted: {at_eta['note']}"
    # Trusted steps beyond the training step speak for it as well.
    covered = at_eta["trusted"] or eta <= max(map(abs, out["fitted_steps"]))
    if low > tolerance:
        verdict, words = "curvature", "curvature matters"
    elif high is not None and high <= tolerance and covered:
        verdict, words = "holds", "first order holds"
    else:
        verdict, words = "undecided", "whether first order holds is undecided"
    return verdict, f"{words} at η = {eta:.3g}: {term}, {star}{doubt}"


def _entry(sweep: EtaSweep, j: int, reason: str) -> dict[str, Any]:
    h = float(sweep.steps[j])
    normalised = _slope(h, sweep.self_normalised[j])
    return {
        **_slope(h, sweep.change[j]),
        "ess": float(sweep.ess[j]),
        "group_ess": float(sweep.group_ess[j]),
        "khat": _finite(sweep.khat[j]),
        "slope_self_normalised": normalised["slope"],
        "se_self_normalised": normalised["se"],
        "trusted": not reason,
        "note": reason,
    }


def _fresh(sweep: EtaSweep, k: int) -> dict[str, Any]:
    changed = int(sweep.fresh_changed[k])
    few = changed < FEWEST_CHANGED
    note = f"only {changed} responses changed: too few for a standard error, take more prompts or a larger step"
    return {
        **_slope(float(sweep.fresh_steps[k]), sweep.fresh[k]),
        "changed_responses": changed,
        "trusted": not few,
        "note": note if few else "",
    }


def _slope(h: float, change: np.ndarray) -> dict[str, float | None]:
    with np.errstate(invalid="ignore", over="ignore"):
        return {"eta": float(h), "slope": _finite(change.mean() / h), "se": _finite(_se(change) / abs(h))}


def _required(run: RunRecord) -> EtaSweep:
    sweep = sweep_of(run)
    if sweep is None:
        raise ValueError("the run has no eta sweep: set eta_sweep.multiples, in mode two_batch")
    return sweep


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 1e-3 or share == 0 else "<0.1%"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _se(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
