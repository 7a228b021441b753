"""What a run measures beside delta_h1, typed: None is a number that was not measured, and no check passes on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.serialization import MEASURED


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Discrepancies that have to be 0, exactly or to rounding, and what they are judged by (``agreement`` on disk).

    Attributes:
        log_probs, entropies: sampler against scorer, largest absolute difference in nats.
        alone_log_probs, alone_entropies: the batch against prompts computed alone and unpadded, in nats.
        definition: s_n against the estimator's definition, relative to the sum of absolute contributions.
        rounding: unit roundoff of the weights.
        unterminated, past_the_end: responses that stop short without an end token, and that go on after one.
        copies: prompts whose responses are one and the same, where that is no chance.
        draws: how far tokens are from the ones their random numbers pick, in probability.
        shared_with_update, repeated: prompts of E that are U's as well, and that come twice.
        first_prompts: a number that tells one choice of E's first prompts from another; None where chance may repeat
            it.
        direction_gap: the direction as used against its recorded fingerprint, relative.
        temperature_gap, size_gap: the policy's temperature and the batches' sizes against the configured ones.
        other_prompts: rows that hold another prompt's tokens.
        unit_gap: per-token values against their definition, relative.
        entropy_sampled, entropy_se_sampled, length_sampled, ended_sampled: the reported means by the sampler's own
            record, in nats and tokens per response, and as a share.
    """

    log_probs: float | None = None
    entropies: float | None = None
    unterminated: float | None = None
    past_the_end: float | None = None
    entropy_sampled: float | None = None
    entropy_se_sampled: float | None = None
    length_sampled: float | None = None
    ended_sampled: float | None = None
    copies: float | None = None
    rounding: float | None = None
    shared_with_update: float | None = None
    repeated: float | None = None
    direction_gap: float | None = None
    first_prompts: float | None = None
    unit_gap: float | None = None
    temperature_gap: float | None = None
    size_gap: float | None = None
    other_prompts: float | None = None
    draws: float | None = None
    alone_log_probs: float | None = None
    alone_entropies: float | None = None
    definition: float | None = None

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar[object] = MEASURED


@dataclass(frozen=True, kw_only=True)
class VarianceParts:
    """V_X, V_Y and T in squared units of delta_h1: V_X + V_Y - T is the variance over both batches (§4)."""

    entropy_batch: float | None = None
    update_batch: float | None = None
    interaction: float | None = None

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar[object] = MEASURED


@dataclass(frozen=True, kw_only=True)
class SingleBatchParts:
    """What a U-statistic is recomputed from (``u_statistic`` on disk; docs/mathematics.md §5).

    Attributes:
        blocks: M, the number of blocks.
        plug_in: <mean x, mean y>, the V-statistic.
        diagonal: mean over blocks of <x_b, y_b>.
        diagonal_gap: one prompt's product with its own block against its definition, relative.
        zeta_1, zeta_1_jackknife: the variance of the row means, plug-in and by the jackknife (None for B = 2).
    """

    blocks: int | None = None
    plug_in: float | None = None
    diagonal: float | None = None
    diagonal_gap: float | None = None
    zeta_1: float | None = None
    zeta_1_jackknife: float | None = None

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar[object] = MEASURED
