"""What a run keeps besides its scalars: sampler against scorer, and token-level arrays for the checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from pytest_entropy.policy import Policy
from pytest_entropy.probe.chunks import scoring_chunks, work_through
from pytest_entropy.probe.directional import Derivatives
from pytest_entropy.probe.records import Update, fingerprint
from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards import RewardFunction, reward_gap
from pytest_entropy.rollouts import Rollouts


def sampler_agreement(
    rollouts: Rollouts, derivatives: Derivatives, policy: Policy, max_new_tokens: int
) -> dict[str, float]:
    """Largest differences between what sampler and scorer say of the same tokens, in nats, how many responses stop
    short without an end token that counts or go on after one, the sampler's own mean entropy per response, and the
    unit roundoff of the weights."""
    ends = torch.isin(rollouts.tokens, torch.tensor(policy.eos_ids, device=rollouts.tokens.device)) & rollouts.mask
    at_end = ends.gather(2, (rollouts.lengths - 1).unsqueeze(-1)).squeeze(-1)
    short = (rollouts.lengths < max_new_tokens) & ~at_end
    beyond = ends.sum(-1) > at_end.long()
    return {
        "log_probs": largest_gap(rollouts.log_probs, derivatives.log_probs),
        "entropies": largest_gap(rollouts.entropies, derivatives.entropies),
        "unterminated": float(short.sum()),
        "past_the_end": float(beyond.sum()),
        "entropy_sampled": float(rollouts.entropies.double().sum()) / ends.shape[0] / ends.shape[1],
        "rounding": policy.rounding,
    }


def update_agreement(prompts: Iterable[str], update: Update) -> dict[str, float]:
    """How many of E's prompts, by content, are U's as well, and whether the direction is the one that was recorded."""
    gap = 0.0
    if update.fingerprint is not None:
        used = fingerprint(update.direction)
        gap = abs(used - update.fingerprint) / (abs(used) + abs(update.fingerprint) or 1.0)
    return {"shared_with_update": len(set(prompts) & set(update.prompts)), "direction_gap": gap}


def setting_agreement(
    policy: Policy, prompts: Sequence[Prompt], rollouts: Rollouts, *, temperature: float
) -> dict[str, float]:
    """How far the policy's temperature is from the configured one, and how many rows have another prompt's tokens."""
    gap = abs(policy.temperature - temperature)
    return {"temperature_gap": gap, "other_prompts": _other_prompts(policy, prompts, rollouts)}


def reward_agreement(
    policy: Policy,
    prompts: Sequence[Prompt],
    rollouts: Rollouts,
    reward: RewardFunction,
    rewards: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """U's rows with another prompt's tokens, and the largest difference of a reward from its own response's."""
    texts = [[policy.decode(ids) for ids in rollouts.responses(n)] for n in range(len(prompts))]
    gap = reward_gap(reward, prompts, texts, rewards)
    return {"other_prompts": _other_prompts(policy, prompts, rollouts), "reward_gap": gap}


def _other_prompts(policy: Policy, prompts: Sequence[Prompt], rollouts: Rollouts) -> float:
    pairs = zip(prompts, rollouts.prompt_ids, strict=True)
    return float(sum(policy.encode(prompt.content) != tuple(ids) for prompt, ids in pairs))


def largest_gap(recorded: torch.Tensor, scored: torch.Tensor, *, prompts: int = 256) -> float:
    """Largest absolute difference of two tables ``[P, G, L]``, a few prompts at a time; nan if there is one."""
    pairs = zip(recorded.split(prompts), scored.split(prompts), strict=True)
    return float(torch.stack([(a.cpu().double() - b.double()).abs().max() for a, b in pairs]).max())


def token_arrays(rollouts: Rollouts, derivatives: Derivatives) -> dict[str, np.ndarray]:
    """Token-level evidence kept with a run when ranks were asked for: one entry per token that counts."""
    if derivatives.ranks is None or derivatives.surprisal_sd is None:
        return {}
    mask = rollouts.mask.cpu()
    surprisal = -derivatives.log_probs.double() - derivatives.entropies.double()
    return {
        "ranks": derivatives.ranks[mask].numpy(),
        "surprisal_sd": derivatives.surprisal_sd[mask].numpy(),
        "excess_surprisal": surprisal.sum(-1).mean(1).numpy(),
    }


def sampler_evidence(policy: Policy, rollouts: Rollouts, *, chunk_tokens: int, threads: int = 1) -> np.ndarray:
    """``[J, 2]`` by :data:`~pytest_entropy.alternatives.ALTERNATIVES`: log likelihood ratio of all tokens together
    against each wrong sampler, and what it would be on average if that one had been used, in nats."""

    def work(slots: list[int]) -> np.ndarray:
        return policy.sampler_evidence(rollouts.select(slots)).cpu().numpy()

    parts = work_through(scoring_chunks(rollouts, chunk_tokens), work, threads=threads)
    return np.sum([part for _, part in parts], axis=0)
