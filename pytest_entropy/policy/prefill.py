"""The forward pass over the prompts, padded on the left, whose key/value cache all responses of a group share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from pytest_entropy.policy.attention_mask import padding_needed
from pytest_entropy.policy.kv_cache import decoding_cache

if TYPE_CHECKING:
    from pytest_entropy.policy.policy import Policy


def left_padded(policy: Policy, prompt_ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts padded on the left: token ids ``[P, T]`` int64, and the attention mask ``[P, T]``, 0 for padding.

    Args:
        policy: gives the device and the padding token.
        prompt_ids: the token ids of the P prompts.
    """
    longest = max(map(len, prompt_ids))
    filler = policy.eos_ids[0] if policy.eos_ids else 0
    ids = [[filler] * (longest - len(row)) + list(row) for row in prompt_ids]
    attention_mask = [[0] * (longest - len(row)) + [1] * len(row) for row in prompt_ids]
    return torch.tensor(ids, device=policy.device), torch.tensor(attention_mask, device=policy.device)


def prefill(
    policy: Policy, prompt_ids: Sequence[Sequence[int]], model: torch.nn.Module | None = None, *, capacity: int = 0
) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
    """Run the model over the prompts, and keep its key/value cache for the responses.

    Args:
        policy: whose model is run.
        prompt_ids: the token ids of the P prompts.
        model: the model's body, to get hidden states; None for logits.
        capacity: the number of response tokens to preallocate the cache for, without gradients; 0 for a growing cache.

    Returns:
        Logits ``[P, V]`` of the first response token, or hidden states ``[P, H]``; the cache; the prompts' attention
        mask ``[P, T]``.
    """
    ids, attention_mask = left_padded(policy, prompt_ids)
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    config = policy.model.config
    cache = decoding_cache(config, capacity) if capacity else DynamicCache(config=config)
    kept = attention_mask if padding_needed(prompt_ids) else None
    logits = policy.forward(ids, kept, positions, cache, keep=1, model=model)
    return logits[:, -1], cache, attention_mask
