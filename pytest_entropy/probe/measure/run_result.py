"""One run's record, from its per-prompt scalars and the passes they came from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.config import ProbeConfig
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.measure.entropy_unit import EntropyUnit
from pytest_entropy.probe.profiler import Meter, peak_memory_mb
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.records.diagnostics import Diagnostics
from pytest_entropy.records.run import RunRecord

log = logging.getLogger(__name__)


def run_result(
    config: ProbeConfig,
    unit: EntropyUnit,
    s: np.ndarray,
    update: Update,
    rollouts: Rollouts,
    derivatives: Derivatives,
    *,
    eta: float,
    eta_source: str,
    run: int,
    seed: int,
    meter: Meter,
    agreement: Mapping[str, float],
    **more: Any,
) -> RunRecord:
    """delta_h1 = eta mean(s) with its conditional error, and what else the record of a run holds.

    Args:
        s: s_n ``[B_E]``, in ``unit`` per unit of eta.
        rollouts: E's, ``derivatives`` their scoring pass.
        agreement: discrepancies by the names of :class:`Diagnostics`.
        more: further fields of :class:`RunRecord`; they stand above those made here.

    Raises:
        RunError: a scalar is not finite.
    """
    B_E = len(s)
    if not np.isfinite(s).all():
        raise RunError(f"{int((~np.isfinite(s)).sum())} of {B_E} per-prompt scalars are not finite")
    variance = float(eta**2 * s.var(ddof=1) / B_E)
    nats, lengths = derivatives.entropies.sum(-1, dtype=torch.float64), rollouts.lengths.double().cpu()
    entropy, entropy_se = unit.entropy(nats.mean(1).numpy(), lengths.mean(1).numpy())
    expected = float(derivatives.first_surprises.sum())
    fields: dict[str, Any] = {
        "B_E": B_E,
        "G": rollouts.group_size,
        "run": run,
        "seed": seed,
        "delta_h1": float(eta * s.mean()),
        "variance_conditional": variance,
        "se_conditional": variance**0.5,
        "per_prompt": s.tolist(),
        "eta": eta,
        "eta_source": eta_source,
        "estimator": config.estimator,
        "update_rule": update.rule,
        "unit": unit.words,
        "mode": config.mode,
        "entropy_mean": entropy,
        "entropy_se": entropy_se,
        "length_mean": float(lengths.mean()),
        "ended_share": float(rollouts.ended.double().mean()),
        "agreement": Diagnostics(**agreement),
        "asked": list(config.diagnostics),
        "expected_surprises": expected if np.isfinite(expected) else None,
        "seconds": meter.seconds,
        "memory_mb": meter.memory_mb,
        "peak_memory_mb": peak_memory_mb(meter.device),
        "update": update.record(),
        # Where s stands for something else, <X_n, u> itself is kept as well.
        "diagnostics": {name: v.tolist() for name, v in derivatives.per_prompt.items() if v is not s},
    }
    result = RunRecord(**(fields | more))
    log.info("B_E %d run %d: delta_h1 %.6e, SE %.2e", B_E, run, result.delta_h1, result.se_conditional)
    return result
