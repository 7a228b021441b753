"""A run's measurements beside delta_h1; None means not measured, and no check passes on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_entropy.records.serialization import MEASURED, without_nan


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Discrepancies that must be 0, exactly or up to rounding, and scales to judge them by (``agreement`` on disk).

    Attributes:
        log_probs, entropies: sampler against scorer, largest absolute difference in nats.
        alone_log_probs, alone_entropies: the batch against each prompt computed alone and unpadded, largest absolute
            difference in nats.
        alone_surprises: a prompt's expected number of responses with a surprise against that by its definition, per
            token.
        definition: s_n against the estimator's definition, relative to the sum of absolute contributions.
        rounding: unit roundoff of the weights.
        noise_log_probs, noise_entropies, noise_nats: rounding between whole responses and token by token, for a few
            prompts: largest difference of a token's log-probability and entropy, and of a response's sum of entropies,
            in nats; None unless weights are coarser than float32.
        noise_scalars: rounding of s_n between whole responses and a group after its prompt, for two prompts, relative
            to the sum of absolute contributions; None likewise.
        unterminated: number of responses shorter than ``max_new_tokens`` without an end token.
        past_the_end: number of responses that continue after an end token.
        copies: number of prompts whose responses are all identical, if that is not plausible by chance, else 0.
        draws: largest distance, in probability, of a token's random number from the token's interval.
        shared_with_update: number of prompts of E that are in U as well.
        repeated: number of prompts of E beyond the distinct ones.
        first_prompts: a number that identifies the choice of E's first prompts, so that runs with the same choice are
            noticed; None if chance may repeat the choice.
        direction_gap: the direction that was used against its recorded fingerprint, relative.
        temperature_gap, size_gap: the policy's temperature and the batch sizes against the configured ones.
        other_prompts: number of rows that hold another prompt's tokens.
        slopes, slopes_mean: s_n of every prompt against the slope of its surrogate by finite differences, the largest
            discrepancy and that of the mean, relative to the root mean square slope; None where no step is usable.
        slopes_noise: the even part of those finite differences, which holds as much rounding, relative likewise.
        encodings: number of prompts whose tokens a plain encoding by a second tokenizer does not give.
        prompt_draw: number of places of E that hold another prompt than the run's seed puts there.
        compared_prompt, compared_loo: a prompt whose s_n were compared with their definition, and its s_n by
            ``reinforce_loo``, nats per unit of eta; None where that was not computed.
        sweep_change, sweep_self_normalised: the change of entropy at one step of the eta sweep, and that by
            self-normalised weights, against plain loops, relative to the sum of absolute contributions.
        sweep_sizes: effective sample sizes at that step against plain loops, relative.
        sweep_khat: k-hat at that step against a second fit; 0 where weights were not smoothed.
        fraction_gap: the recorded share of the prompts against a second count.
        unit_gap: per-token values against their definition, relative.
        entropy_per_token, entropy_per_token_se: the reported entropy per token and its standard error, recomputed from
            the sampler's own record by plain loops, in nats.
        entropy_sampled, entropy_se_sampled: the reported entropy and its standard error, recomputed from the sampler's
            own record, in nats per response.
        length_sampled, ended_sampled: the reported mean length in tokens and share of ended responses, recomputed from
            the sampler's own record.
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
    noise_log_probs: float | None = None
    noise_entropies: float | None = None
    noise_nats: float | None = None
    noise_scalars: float | None = None
    shared_with_update: float | None = None
    repeated: float | None = None
    direction_gap: float | None = None
    first_prompts: float | None = None
    unit_gap: float | None = None
    entropy_per_token: float | None = None
    entropy_per_token_se: float | None = None
    temperature_gap: float | None = None
    size_gap: float | None = None
    other_prompts: float | None = None
    draws: float | None = None
    alone_log_probs: float | None = None
    alone_entropies: float | None = None
    alone_surprises: float | None = None
    definition: float | None = None
    slopes: float | None = None
    slopes_mean: float | None = None
    slopes_noise: float | None = None
    encodings: float | None = None
    prompt_draw: float | None = None
    fraction_gap: float | None = None
    compared_prompt: float | None = None
    compared_loo: float | None = None
    sweep_change: float | None = None
    sweep_self_normalised: float | None = None
    sweep_sizes: float | None = None
    sweep_khat: float | None = None

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar[object] = MEASURED

    def __post_init__(self) -> None:
        without_nan(self)


@dataclass(frozen=True, kw_only=True)
class VarianceParts:
    """The parts of the total variance of delta_h1, in its squared unit (docs/mathematics.md §4).

    Attributes:
        entropy_batch: V_X, the variance over entropy batches given U.
        update_batch: V_Y, the variance over update batches given E.
        interaction: T; V_X + V_Y - T is the variance over both batches.
        standard_error: of V_Y - T, the update batch's own part.
        update_skewness: skewness of the scalars behind V_Y, which intervals over update batches depend on.
        definition: discrepancy of scalars behind V_Y and T from their definitions, relative.
    """

    entropy_batch: float | None = None
    update_batch: float | None = None
    interaction: float | None = None
    standard_error: float | None = None
    update_skewness: float | None = None
    definition: float | None = None

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar[object] = MEASURED


@dataclass(frozen=True, kw_only=True)
class CompanionParts:
    """A run's companion reads (``companions`` on disk; docs/variance-reduction.md): s~_n = s_n - x_n + mean of x_nj.

    Attributes:
        count: k, the number of companions of each prompt; 0 where none was read, None where it was not recorded.
        opening: the tokens that were read after each prompt, by id.
        own: x_n ``[B_E]``, nats per response per unit of eta.
        mean: the mean of x_nj over the companions j, ``[B_E]``, in the same unit.
        shared: number of companions that E or U holds, which they may with replacement.
        draw: number of places that hold another companion than the run's seed puts there.
        encodings: number of prompts read whose tokens a plain encoding by a second tokenizer does not give, or that are
            followed by another opening than E's first.
        definition: x of two prompts against their definition, relative to the sum of absolute contributions.
    """

    count: int | None = None
    opening: list[int] = field(default_factory=list)
    own: Sequence[float] = field(default_factory=list)
    mean: Sequence[float] = field(default_factory=list)
    shared: float | None = None
    draw: float | None = None
    encodings: float | None = None
    definition: float | None = None

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar[object] = MEASURED

    def __post_init__(self) -> None:
        without_nan(self)

    @property
    def per_prompt(self) -> int:
        """The companions of a prompt, or the prompt itself where there are none."""
        return self.count if self.count else 1


@dataclass(frozen=True, kw_only=True)
class SingleBatchParts:
    """The numbers from which a U-statistic can be recomputed (``u_statistic`` on disk; docs/mathematics.md §5).

    Attributes:
        blocks: M, the number of blocks.
        plug_in: <mean x, mean y>, the V-statistic.
        diagonal: mean over blocks b of <x_b, y_b>.
        diagonal_gap: one prompt's product with its own block against its definition, relative.
        row_gap: one prompt's row mean against its definition, relative; None where blocks are not prompts.
        zeta_1, zeta_1_jackknife: the variance of the row means, plug-in and corrected as by the jackknife (None for
            B = 2); the run's variance is eta^2 4 zeta_1_jackknife / B.
    """

    blocks: int | None = None
    plug_in: float | None = None
    diagonal: float | None = None
    diagonal_gap: float | None = None
    row_gap: float | None = None
    zeta_1: float | None = None
    zeta_1_jackknife: float | None = None

    OMITS_NONE: ClassVar[bool] = True
    __pydantic_config__: ClassVar[object] = MEASURED

    def __post_init__(self) -> None:
        without_nan(self)
