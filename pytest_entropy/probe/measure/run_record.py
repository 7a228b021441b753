"""Make the record of one run from its per-prompt scalars, scoring pass and update."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.peak_memory import peak_memory_mb
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.probe.variance.spread import Spread
from pytest_entropy.records.diagnostics import CompanionParts, Diagnostics, SingleBatchParts
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.seeds import prompt_number

log = logging.getLogger(__name__)
# That none of so many ends is no chance where one in fifty does (probability 0.006).
MANY_RESPONSES = 256


@dataclass(frozen=True)
class MeasuredBatch:
    """The result of one measurement, before it becomes a record.

    Attributes:
        s: s_n ``[B_E]``, in the setup's unit of entropy per unit of eta.
        update: the update whose direction u was used.
        rollouts: the entropy batch, B_E prompts x G responses.
        derivatives: the scoring pass of ``rollouts`` and its directional derivatives.
        agreement: discrepancies by the names of :class:`Diagnostics`.
        meter: time and memory of the phases.
        arrays: token-level evidence and the eta sweep, by name.
        spread: the variance with U random as well; empty where it was not computed.
        prompts: content keys of E's prompts ``[B_E]``; empty in mode ``u_statistic``, where they are the update's.
        companions: the companion reads; empty without any.
        single_batch: the numbers from which a U-statistic is recomputed; empty in mode ``two_batch``.
    """

    s: np.ndarray
    update: Update
    rollouts: Rollouts
    derivatives: Derivatives
    agreement: Mapping[str, float]
    meter: Meter
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    spread: Spread = Spread()
    prompts: tuple[str, ...] = ()
    single_batch: SingleBatchParts = SingleBatchParts()
    companions: CompanionParts = CompanionParts(count=0)


def run_record(setup: Setup, measured: MeasuredBatch, *, run: int, seed: int, sampling_fraction: float) -> RunRecord:
    """A run's record: delta_h1 = eta mean(s), its conditional standard error, and metadata (docs/mathematics.md §4).

    Args:
        setup: the settings the run was measured with.
        measured: s_n ``[B_E]`` and the scoring pass they came from.
        run: number of the run at this B_E.
        seed: the run's own seed.
        sampling_fraction: share of the distinct prompts that E drew.

    Raises:
        RunError: an s_n is not finite.
    """
    s, eta, config, spread = measured.s, setup.eta, setup.config, measured.spread
    B_E = len(s)
    if not np.isfinite(s).all():
        raise RunError(f"{int((~np.isfinite(s)).sum())} of {B_E} per-prompt scalars are not finite")
    variance = float(eta**2 * s.var(ddof=1) / B_E)
    batch = _means(setup, measured)
    result = RunRecord(
        B_E=B_E, G=measured.rollouts.group_size, run=run, seed=seed,
        delta_h1=float(eta * s.mean()), variance_conditional=variance, se_conditional=variance**0.5,
        per_prompt=s.tolist(), eta=eta, eta_source=setup.eta_source,
        estimator=config.estimator, update_rule=measured.update.rule, unit=setup.unit.words, mode=config.mode,
        entropy_mean=batch.entropy, entropy_se=batch.entropy_se, length_mean=batch.length, ended_share=batch.ended,
        expected_surprises=batch.expected_surprises,
        # Where s_n is a pseudo-value, or holds companion reads, <X_n, u> itself is recorded as well.
        diagnostics={n: v.tolist() for n, v in measured.derivatives.per_prompt.items() if v is not s},
        asked=list(config.diagnostics), agreement=Diagnostics(**measured.agreement),
        update=measured.update.record(), sampling_fraction=sampling_fraction,
        prompts=[prompt_number(key) for key in measured.prompts] or None,
        variance_total=spread.variance_total, se_total=spread.se_total, variance_parts=spread.parts,
        notes=[*spread.notes, *_end_note(setup, batch.ended, measured.rollouts)],
        u_statistic=measured.single_batch, companions=measured.companions, arrays=measured.arrays,
        reading=setup.second_reading(),
        seconds=measured.meter.seconds, memory_mb=measured.meter.memory_mb,
        peak_memory_mb=peak_memory_mb(measured.meter.device),
    )  # fmt: skip
    log.info("B_E %d run %d: delta_h1 %.6e, SE %.2e", B_E, run, result.delta_h1, result.se_conditional)
    return result


def _end_note(setup: Setup, ended: float, rollouts: Rollouts) -> list[str]:
    """A note where none of many responses ended, which a weak policy may do, and one with a wrong end token does."""
    count = len(rollouts) * rollouts.group_size
    if ended > 0 or count < MANY_RESPONSES:
        return []
    tokens = ", ".join(map(str, setup.policy.eos_ids))
    return [
        f"none of {count} responses ended within {setup.config.max_new_tokens} tokens: the policy never ends one, "
        f"max_new_tokens is too small, or the end tokens (ids {tokens}) are not those it was trained with"
    ]


@dataclass(frozen=True)
class _Means:
    """Means over the entropy batch, and the expected number of its responses with a surprise.

    Attributes:
        entropy, entropy_se: in the setup's unit of entropy.
        length: tokens per response.
        ended: share of responses that end with an end token.
        expected_surprises: sum of :func:`~.derivative_piece.expected_first_surprises`; None where it is not known.
    """

    entropy: float
    entropy_se: float
    length: float
    ended: float
    expected_surprises: float | None


def _means(setup: Setup, measured: MeasuredBatch) -> _Means:
    rollouts, derivatives = measured.rollouts, measured.derivatives
    nats, lengths = derivatives.entropies.sum(-1, dtype=torch.float64), rollouts.lengths.double().cpu()
    entropy, entropy_se = setup.unit.entropy(nats.mean(1).numpy(), lengths.mean(1).numpy())
    expected = float(derivatives.first_surprises.sum())
    return _Means(
        entropy,
        entropy_se,
        float(lengths.mean()),
        float(rollouts.ended.double().mean()),
        expected if np.isfinite(expected) else None,
    )
