"""The prompts' own pass: padded on the left, computed once for the responses of a group, its cache kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from pytest_entropy.policy.kv_cache import decoding_cache

if TYPE_CHECKING:
    from pytest_entropy.policy.policy import Policy


def left_padded(policy: Policy, prompt_ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """``[P, T]`` ids padded on the left and the mask of what is real."""
    longest = max(map(len, prompt_ids))
    filler = policy.eos_ids[0] if policy.eos_ids else 0
    ids = [[filler] * (longest - len(row)) + list(row) for row in prompt_ids]
    kept = [[0] * (longest - len(row)) + [1] * len(row) for row in prompt_ids]
    return torch.tensor(ids, device=policy.device), torch.tensor(kept, device=policy.device)


def prefill(
    policy: Policy, prompt_ids: Sequence[Sequence[int]], model: torch.nn.Module | None = None, *, capacity: int = 0
) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
    """Run the prompts: logits of the first response token ``[P, V]`` (or what ``model`` gives), cache, mask.

    With ``capacity`` the cache is one for decoding that many tokens, without gradients.
    """
    ids, kept = left_padded(policy, prompt_ids)
    positions = (kept.cumsum(-1) - 1).clamp(min=0)
    config = policy.model.config
    cache = decoding_cache(config, capacity) if capacity else DynamicCache(config=config)
    logits = policy.forward(ids, kept, positions, cache, keep=1, model=model)
    return logits[:, -1], cache, kept
