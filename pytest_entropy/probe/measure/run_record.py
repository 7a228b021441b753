"""One run's record, from its per-prompt scalars and the passes they came from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.profiler import Meter, peak_memory_mb
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.records.diagnostics import Diagnostics
from pytest_entropy.records.run import RunRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What a measurement leaves behind.

    Attributes:
        s: s_n ``[B_E]``, in the unit of the setup per unit of eta.
        update: the update it was taken along.
        rollouts: the entropy batch's; ``derivatives`` are their scoring pass.
        agreement: discrepancies by the names of :class:`Diagnostics`.
        meter: what its phases cost.
        more: further fields of :class:`RunRecord`.
    """

    s: np.ndarray
    update: Update
    rollouts: Rollouts
    derivatives: Derivatives
    agreement: Mapping[str, float]
    meter: Meter
    more: Mapping[str, Any] = field(default_factory=dict)


def run_record(setup: Setup, measured: Measured, *, run: int, seed: int, sampling_fraction: float) -> RunRecord:
    """delta_h1 = eta mean(s) with its conditional error, and what else the record of a run holds.

    Args:
        setup: what was measured with.
        measured: s_n and the passes they came from.
        run, seed: number of the run at this B_E, and its own seed.
        sampling_fraction: share of the distinct prompts that E drew.

    Raises:
        RunError: a scalar is not finite.
    """
    s, eta = measured.s, setup.eta
    B_E = len(s)
    if not np.isfinite(s).all():
        raise RunError(f"{int((~np.isfinite(s)).sum())} of {B_E} per-prompt scalars are not finite")
    variance = float(eta**2 * s.var(ddof=1) / B_E)
    fields: dict[str, Any] = {
        "B_E": B_E,
        "G": measured.rollouts.group_size,
        "run": run,
        "seed": seed,
        "delta_h1": float(eta * s.mean()),
        "variance_conditional": variance,
        "se_conditional": variance**0.5,
        "per_prompt": s.tolist(),
        "eta": eta,
        "eta_source": setup.eta_source,
        **_settings(setup),
        **_batch(setup, measured),
        **_costs(measured.meter),
        "update_rule": measured.update.rule,
        "update": measured.update.record(),
        "agreement": Diagnostics(**measured.agreement),
        "sampling_fraction": sampling_fraction,
    }
    result = RunRecord(**(fields | dict(measured.more)))
    log.info("B_E %d run %d: delta_h1 %.6e, SE %.2e", B_E, run, result.delta_h1, result.se_conditional)
    return result


def _settings(setup: Setup) -> dict[str, Any]:
    config = setup.config
    return {
        "estimator": config.estimator,
        "unit": setup.unit.words,
        "mode": config.mode,
        "asked": list(config.diagnostics),
    }


def _batch(setup: Setup, measured: Measured) -> dict[str, Any]:
    """Means over the entropy batch, and the scalars that stand beside s_n."""
    rollouts, derivatives = measured.rollouts, measured.derivatives
    nats, lengths = derivatives.entropies.sum(-1, dtype=torch.float64), rollouts.lengths.double().cpu()
    entropy, entropy_se = setup.unit.entropy(nats.mean(1).numpy(), lengths.mean(1).numpy())
    expected = float(derivatives.first_surprises.sum())
    return {
        "entropy_mean": entropy,
        "entropy_se": entropy_se,
        "length_mean": float(lengths.mean()),
        "ended_share": float(rollouts.ended.double().mean()),
        "expected_surprises": expected if np.isfinite(expected) else None,
        # Where s stands for something else, <X_n, u> itself is kept as well.
        "diagnostics": {n: v.tolist() for n, v in derivatives.per_prompt.items() if v is not measured.s},
    }


def _costs(meter: Meter) -> dict[str, Any]:
    return {
        "seconds": meter.seconds,
        "memory_mb": meter.memory_mb,
        "peak_memory_mb": peak_memory_mb(meter.device),
    }
