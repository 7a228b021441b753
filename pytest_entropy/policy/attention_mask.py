"""The attention mask of a decoding step, in the form whose handling makes no host wait for the device.

Given a mask ``[rows, positions]``, transformers asks at every token whether it is all ones, which on a GPU waits for
all work under way.  A boolean mask ``[rows, 1, 1, positions]`` is passed on to attention as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from pytest_entropy.policy.policy import Policy


def padding_needed(prompt_ids: Sequence[Sequence[int]]) -> bool:
    """Whether prompts differ in length, so that all but the longest are padded; known without asking the device.

    Args:
        prompt_ids: the token ids of the P prompts.
    """
    return len(set(map(len, prompt_ids))) > 1


def same_length(prompt_ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """The positions of the prompts of each length, which share a pass without padding; shortest first.

    Args:
        prompt_ids: the token ids of the P prompts.
    """
    found: dict[int, list[int]] = {}
    for n, ids in enumerate(prompt_ids):
        found.setdefault(len(ids), []).append(n)
    return [found[length] for length in sorted(found)]


def decoding_mask(policy: Policy, prompt_mask: torch.Tensor, limit: int) -> torch.Tensor:
    """The mask of prompts and of ``limit`` response tokens; a step is given its first positions.

    Args:
        policy: whose model is to be given the mask.
        prompt_mask: ``[rows, T]`` int64, 0 for padding, 1 else.
        limit: the largest number of response tokens.

    Returns:
        ``[rows, T + limit]`` int64 on the CPU, where nothing waits, and for models that need it so; else
        ``[rows, 1, 1, T + limit]`` bool.
    """
    mask = torch.cat([prompt_mask, prompt_mask.new_ones(len(prompt_mask), limit)], dim=1)
    if policy.device.type == "cpu" or not policy.takes_prepared_mask:
        return mask
    return mask.bool()[:, None, None]


@torch.no_grad()
def takes_prepared_mask(policy: Policy) -> bool:
    """Whether a decoding step with padding gives the same logits with a mask ``[rows, 1, 1, positions]``, bit by bit.

    False for models whose layers do not all attend to all positions, since transformers would make a mask per kind.

    Args:
        policy: whose model is run on two prompts of one and two tokens.
    """
    config = policy.model.config
    full = all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
    if not full or getattr(config, "_attn_implementation", None) != "sdpa":
        return False
    made = [_step(policy, prepared=prepared) for prepared in (False, True)]
    return made[0] is not None and made[1] is not None and torch.equal(made[0], made[1])


def _step(policy: Policy, *, prepared: bool) -> torch.Tensor | None:
    """Logits of a step after two prompts of different tokens, the first one padded; None if the model refuses."""
    kept = torch.tensor([[0, 1, 1], [1, 1, 1]], device=policy.device)
    ids = torch.tensor([[0, 1, 2], [3, 2, 1]], device=policy.device)
    positions = (kept.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=policy.model.config)
    policy.forward(ids[:, :2], kept[:, :2], positions[:, :2], cache)
    mask = kept.bool()[:, None, None] if prepared else kept
    try:
        return policy.forward(ids[:, 2:], mask, positions[:, 2:], cache)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return None
