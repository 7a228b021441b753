"""Correct runs simulated from their null hypotheses, of any size, and how far and by what each check's are put off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri

from pytest_entropy import registry
from pytest_entropy.checks.base import Check
from pytest_entropy.policy.alternatives import ALTERNATIVES
from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.diagnostics import CHECKED
from tests.present import present
from tests.unit.reports.stored import ETA, result

# A larger share than a session gives takes fewer shuffles to tell.
SHARE = 1e-3
SIZES = [16] * 4 + [64] * 4 + [256] * 4


def simulated(sizes: list[int], seed: int = 0) -> list[RunRecord]:
    """Correct runs: derivatives of mean -100 and spread 50, and diagnostics whose null hypotheses hold."""
    rng = np.random.default_rng(seed)
    return [_one(size, number, rng) for number, size in enumerate(sizes, start=1)]


def _one(size: int, number: int, rng: np.random.Generator) -> RunRecord:
    s = -100 + 50 * rng.standard_normal(size)
    noisy = {name: s + 60 * rng.standard_normal(size) for name in ("reinforce_loo", "entropy_slope")}
    # A wrong sampler leaves evidence of 3 nats in a run, and the right one as much against it.
    evidence = np.tile([-3.0, 3.0], (len(ALTERNATIVES), 1))
    run = result(
        size, number, s, diagnostics={**noisy, "score": 30 * rng.standard_normal(size)}, expected_surprises=1e4,
        sampling_fraction=0.0, asked=[*CHECKED, "eta_sweep"],
    )  # fmt: skip
    arrays = {
        "ranks": rng.random(20 * size), "surprisal_sd": 0.5 + rng.random(20 * size), "sampler_evidence": evidence,
        "evidence_tokens": np.array(20 * size),
        **_sweep(s + 20 * rng.standard_normal(size), rng.normal(-2000, 500, size)).arrays(),
    }  # fmt: skip
    return replace(run, arrays=arrays)


def _sweep(slope: np.ndarray, curvature: np.ndarray) -> EtaSweep:
    steps = ETA * np.array([-2.0, -1.0, 1.0, 2.0])
    h, ones, none = steps[:, None], np.ones(4), np.array([])
    change = slope * h + curvature * h**2 / 2
    return EtaSweep(
        np.array(ETA), np.array(ETA), steps, change, change, ones, ones, np.full(4, np.nan), 0 * ones,
        np.full(len(slope), 1e-9), none, none, none,
    )  # fmt: skip


# ---------------------------------------------------------------------- by how much a run is off, in effects


def diagnostic(name: str) -> Callable[[RunRecord, float], RunRecord]:
    return lambda run, by: replace(
        run, diagnostics={**run.diagnostics, name: (np.asarray(run.diagnostics[name]) + by / run.eta).tolist()}
    )


def ranks(run: RunRecord, by: float) -> RunRecord:
    return replace(run, arrays={**run.arrays, "ranks": ndtr(ndtri(run.arrays["ranks"]) + by)})


def slope_at_0(run: RunRecord, by: float) -> RunRecord:
    change = run.arrays["sweep_change"] + by / run.eta * run.arrays["sweep_steps"][:, None]
    return replace(run, arrays={**run.arrays, "sweep_change": change})


def evidence(run: RunRecord, by: float) -> RunRecord:
    table = run.arrays["sampler_evidence"].copy()
    table[0, 0] = by
    return replace(run, arrays={**run.arrays, "sampler_evidence": table})


def spread(run: RunRecord, by: float) -> RunRecord:
    """The error that a run reports, so that the spread over it is ``by`` times what it is."""
    return replace(run, se_conditional=present(run.se_conditional) / by)


def slope_of_the_error(run: RunRecord, by: float) -> RunRecord:
    return replace(run, se_conditional=run.se_conditional * run.B_E**by)


def bias(run: RunRecord, by: float) -> RunRecord:
    s = np.asarray(run.per_prompt) + by / run.B_E
    return replace(run, per_prompt=s.tolist(), delta_h1=float(run.eta * s.mean()))


# How each check's runs are put off: the change, how far above and below (an effect of interest is 1), and the sizes.
CHANGES = {
    "score_identity": (diagnostic("score"), (1, -1), [32] * 15),
    "surprisal_identity": (ranks, (1, -1), [32] * 15),
    "estimator_agreement": (diagnostic("reinforce_loo"), (1, -1), [32] * 15),
    "first_order_accuracy": (diagnostic("entropy_slope"), (1, -1), [32] * 15),
    "eta_sweep_intercept": (slope_at_0, (1, -1), [256]),
    # Evidence is for a wrong sampler or not: there is no below.
    "sampler_alternatives": (evidence, (1,), [32] * 15),
    "se_calibration": (spread, (1,), [32] * 15),
    "se_slope": (slope_of_the_error, (1, -1), SIZES),
    "convergence": (bias, (1, -1), SIZES),
}
# Where no effect is of interest before the runs are seen: one that these show.
OWN_EFFECT = {"convergence": 6000.0}


def size_of_the_effect(name: str, runs: list[RunRecord]) -> float:
    effect = registry.get("checks", name, Check).effect_of_interest(runs)
    found = OWN_EFFECT[name] if effect is None else effect
    return found / len(runs) if name == "sampler_alternatives" else found
