"""The update batch and the step taken on it, as ``results.json`` and ``update.json`` hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_entropy.records.serialization import MEASURED, Stored


@dataclass(frozen=True)
class Sample:
    """One rewarded response as people read it: texts shortened, control characters as escapes."""

    prompt: str
    completion: str
    answer: str
    reward: float


@dataclass(frozen=True, kw_only=True)
class UpdateRecord(Stored):
    """What is known of an update direction u without its tensors; None: not measured.

    Attributes:
        rule, objective: the update rule, and the policy-gradient loss.
        eta, eta_source: the learning rate, and where it is from.
        seed: of the batch U.
        prompts: U's prompts by content.
        rewards: ``[B_U][G]``.
        gradient_norm, direction_norm: Euclidean, over all trainable parameters.
        reward_mean, reward_std, degenerate_groups: of the rewards; the share of groups whose rewards are equal.
        entropy_mean, length_mean: of the responses, in nats and in tokens.
        oracle_gap: the direction against a real torch optimizer's step, largest relative difference.
        loss_slope_gap: <g, u> against the loss's own slope along u, relative.
        eta_gap: eta against the configured rate, or else the largest the optimizer stores, relative.
        fingerprint, learnt_fingerprint: tell one direction, and one set of learnt tables, from another.
        reward_gap: largest difference of a reward from its completion's own; None of a function that is not asked
            twice (``rewards_rechecked`` is False then).
        draw_gap: how far a token is from the one its random number picks, in probability.
        other_prompts: rows that hold another prompt's tokens.
        sample: up to two responses, where rewards are equal within every group.
        seconds, memory_mb: wall time and most memory held (MiB), by phase.
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
    reward_mean: float | None = None
    reward_std: float | None = None
    degenerate_groups: float | None = None
    entropy_mean: float | None = None
    length_mean: float | None = None
    oracle_gap: float | None = None
    loss_slope_gap: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    eta_gap: float | None = None
    fingerprint: float | None = None
    learnt_fingerprint: float | None = None
    memory_mb: dict[str, float] = field(default_factory=dict)
    reward_gap: float | None = None
    rewards_rechecked: bool | None = None
    draw_gap: float | None = None
    other_prompts: float | None = None
    sample: list[Sample] = field(default_factory=list)

    __pydantic_config__: ClassVar[object] = MEASURED


@dataclass(frozen=True, kw_only=True)
class StoredUpdate(UpdateRecord):
    """``update.json``: the update with what the checkpoint and its loading say of the step.

    Attributes:
        mapping: how optimizer states were given to parameters.
        end_tokens: ids that end a response.
        sampling: the distribution sampled from: ``temperature``.
        ignored_generation_config: sampling defaults of the checkpoint that were not used.
        parameters: numbers of parameters, ``trainable`` and ``all``.
    """

    mapping: str = ""
    end_tokens: list[int] = field(default_factory=list)
    sampling: dict[str, float] = field(default_factory=dict)
    ignored_generation_config: dict[str, object] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)


def equal_rewards(rewards: Sequence[Sequence[float]]) -> str | None:
    """What is equal in rewards ``[P][G]``, if those of every prompt are; None if any prompt's differ.

    >>> equal_rewards([[0.0, 0.0], [0.0, 0.0]])
    'every group of the update batch has equal rewards: all 4 are 0'
    >>> equal_rewards([[1.0, 1.0], [0.0, 0.0]])
    "every group of the update batch has equal rewards: each prompt's 2, which differ between prompts only (0 to 1)"
    """
    if any(min(group) != max(group) for group in rewards):
        return None
    low, high = min(group[0] for group in rewards), max(group[0] for group in rewards)
    if low == high:
        what = f"all {sum(map(len, rewards))} are {low:.3g}"
    else:
        what = f"each prompt's {len(rewards[0])}, which differ between prompts only ({low:.3g} to {high:.3g})"
    return f"every group of the update batch has equal rewards: {what}"
