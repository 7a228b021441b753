"""The record of the update batch and its update direction, part of ``results.json`` and content of ``update.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_entropy.records.serialization import MEASURED, Stored, without_nan


@dataclass(frozen=True)
class Sample:
    """One rewarded response for people to read: its texts are shortened, their control characters escaped."""

    prompt: str
    completion: str
    answer: str
    reward: float | None


@dataclass(frozen=True)
class StillTerm:
    """One of several rewards that is equal within every group, and so adds nothing to the advantages.

    Attributes:
        name: of the reward, as it is configured.
        equal: which values are equal, in words.
        sample: up to two responses with this reward's values; None where it gives none.
    """

    name: str
    equal: str
    sample: list[Sample] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class UpdateRecord(Stored):
    """An update batch U and its direction u, without tensors; None means not measured.

    Attributes:
        rule, objective: names of the update rule and of the policy-gradient objective.
        eta, eta_source: the learning rate, and where it comes from.
        seed: the seed of U.
        prompts: U's prompts by content.
        rewards: ``[B_U][G]``.
        gradient_norm, direction_norm: Euclidean norms of g and u over all trainable parameters.
        norm_gap: those norms against a second computation, the norm of the tensors' norms, relative.
        reward_mean, reward_std: mean and standard deviation of the rewards.
        degenerate_groups: share of the groups whose rewards are all equal.
        entropy_mean, length_mean: mean entropy in nats and mean length in tokens per response.
        oracle_gap: u against a torch optimizer's step, largest relative difference.
        loss_slope_gap: <g, u> against the slope of the loss along u by finite differences, relative.
        loss_slope_noise: rounding and curvature of that slope, relative likewise; None unless weights are coarser than
            float32.
        random_slope_gap, random_slope_noise: <g, v> against the slope of the loss along random directions v by finite
            differences, largest discrepancy, and the rounding of those differences; relative to the root sum of squares
            of the responses' parts.
        zero_slope_gap: the slope of the loss along the entries of v where g is exactly 0, relative likewise.
        zero_gradients: parameters with entries of g that are exactly 0, and their share, in words.
        eta_gap: eta against the configured rate or, without one, the optimizer's largest stored rate, relative.
        fingerprint, learnt_fingerprint: numbers that identify the direction, and the control variate's tables.
        companion_reads, fewest_reads: companions of each prompt that pay most by the update batch, up to 64, and the
            fewest that pay, 0 if none do, before limits; None unless ``batch_config.reads: auto`` asked.
        reward_gap: largest difference between a reward and the reward of the same completion computed again; None if
            the reward function was not called again (``rewards_rechecked`` is False then).
        draw_gap: largest distance, in probability, of a token's random number from the token's interval.
        other_prompts: number of rows that hold another prompt's tokens.
        encodings: number of prompts whose tokens a plain encoding does not give.
        prompt_draw: number of places that hold another prompt, or another answer, than the batch's seed puts there.
        texts: number of responses whose text, as it was rewarded, a plain decoding does not give.
        sample: up to two responses, if rewards are equal within every group.
        still_terms: the rewards of a weighted sum that are equal within every group by themselves.
        seconds, memory_mb: wall time, and peak memory in MiB, by phase.
    """

    rule: str = ""
    objective: str = ""
    eta: float | None = None
    eta_source: str = ""
    seed: int | None = None
    prompts: list[str] = field(default_factory=list)
    rewards: list[list[float]] = field(default_factory=list)
    gradient_norm: float | None = None
    direction_norm: float | None = None
    norm_gap: float | None = None
    reward_mean: float | None = None
    reward_std: float | None = None
    degenerate_groups: float | None = None
    entropy_mean: float | None = None
    length_mean: float | None = None
    oracle_gap: float | None = None
    loss_slope_gap: float | None = None
    loss_slope_noise: float | None = None
    random_slope_gap: float | None = None
    random_slope_noise: float | None = None
    zero_slope_gap: float | None = None
    zero_gradients: list[str] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    eta_gap: float | None = None
    fingerprint: float | None = None
    learnt_fingerprint: float | None = None
    companion_reads: int | None = None
    fewest_reads: int | None = None
    memory_mb: dict[str, float] = field(default_factory=dict)
    reward_gap: float | None = None
    rewards_rechecked: bool | None = None
    draw_gap: float | None = None
    other_prompts: float | None = None
    encodings: float | None = None
    texts: float | None = None
    prompt_draw: float | None = None
    sample: list[Sample] = field(default_factory=list)
    still_terms: list[StillTerm] = field(default_factory=list)

    __pydantic_config__: ClassVar[object] = MEASURED

    def __post_init__(self) -> None:
        without_nan(self)


@dataclass(frozen=True, kw_only=True)
class StoredUpdate(UpdateRecord):
    """``update.json``: the update, and what the checkpoint and its loading contribute to the step.

    Attributes:
        mapping: how optimizer states were assigned to parameters, in words.
        end_tokens: ids of the tokens that end a response.
        sampling: the sampling settings: ``temperature``.
        ignored_generation_config: sampling defaults of the checkpoint that were not used.
        parameters: numbers of parameters, ``trainable`` and ``all``.
    """

    mapping: str = ""
    end_tokens: list[int] = field(default_factory=list)
    sampling: dict[str, float] = field(default_factory=dict)
    ignored_generation_config: dict[str, object] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)


def equal_rewards(rewards: Sequence[Sequence[float]]) -> str | None:
    """Describe rewards ``[P][G]`` that are equal within every group; None if they differ within any group.

    >>> equal_rewards([[0.0, 0.0], [0.0, 0.0]])
    'every group of the update batch has equal rewards: all 4 are 0'
    >>> equal_rewards([[1.0, 1.0], [0.0, 0.0]])
    "every group of the update batch has equal rewards: each prompt's 2, which differ between prompts only (0 to 1)"
    """
    what = equal_within_groups(rewards)
    return None if what is None else f"every group of the update batch has equal rewards: {what}"


def equal_within_groups(values: Sequence[Sequence[float | None]]) -> str | None:
    """What is equal, of values ``[P][G]`` that are equal within every group; None if they differ within any group.

    >>> equal_within_groups([[None, None], [None, None]]), equal_within_groups([[0.0, None]])
    ('all 4 are None', None)
    """
    if any(value != group[0] for group in values for value in group):
        return None
    firsts = [group[0] for group in values]
    if all(first == firsts[0] for first in firsts):
        return f"all {sum(map(len, values))} are {'None' if firsts[0] is None else f'{firsts[0]:.3g}'}"
    known = [first for first in firsts if first is not None]
    between = f"{min(known):.3g} to {max(known):.3g}" + (", or None" if len(known) < len(firsts) else "")
    return f"each prompt's {len(values[0])}, which differ between prompts only ({between})"
