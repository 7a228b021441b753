"""Sampling from softmax(logits / T) by a loop of our own, because ``generate`` would apply generation defaults.

Each response has its own random numbers, derived from the seed, the prompt's index and the response's index
(:mod:`pytest_entropy.records.seeds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pytest_entropy.policy.distribution import draw_tokens
from pytest_entropy.policy.kv_cache import keep_rows
from pytest_entropy.policy.prefill import prefill
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.sampling_record import Recorder

if TYPE_CHECKING:
    from pytest_entropy.policy.policy import Policy

# Ended rows leave the decoding batch only once more than a quarter have ended, because copying the cache is costly.
COMPACT_BELOW = 0.75


@torch.no_grad()
def sample(policy: Policy, prompt_ids: Sequence[Sequence[int]], uniforms: torch.Tensor) -> Rollouts:
    """Sample G responses to each of P prompts.

    Args:
        policy: the policy that is sampled.
        prompt_ids: the token ids of the P prompts.
        uniforms: ``[P, G, max_new_tokens]`` random numbers in [0, 1), one per possible token.

    Raises:
        RunError: the model is in training mode, a prompt with its response exceeds the context, or the logits are not
            finite.
    """
    policy.require_eval()
    prompts, group, limit = len(prompt_ids), uniforms.shape[1], uniforms.shape[2]
    policy.require_room(max(map(len, prompt_ids)) + limit)
    uniforms = uniforms.to(policy.device)
    last_logits, cache, attention_mask = prefill(policy, prompt_ids, capacity=limit if policy.static_cache else 0)
    cache.batch_repeat_interleave(group)
    rows = prompts * group
    logits = last_logits.repeat_interleave(group, dim=0)
    attention_mask = attention_mask.repeat_interleave(group, dim=0)
    start = attention_mask.sum(-1, keepdim=True)
    uniforms = uniforms.reshape(rows, limit)
    record = Recorder(rows, limit, policy.device, policy.dtype)
    alive = torch.arange(rows, device=policy.device)
    running = torch.ones(rows, dtype=torch.bool, device=policy.device)
    eos = torch.tensor(policy.eos_ids, dtype=torch.int64, device=policy.device)
    for k in range(limit):
        drawn = draw_tokens(logits, policy.temperature, uniforms[alive, k])
        tokens = drawn.tokens
        record.write(alive[running], k, drawn.select(running))
        running = running & ~torch.isin(tokens, eos)
        record.end(alive[~running], k)
        remaining = int(running.sum())
        if remaining == 0 or k + 1 == limit:
            break
        if remaining < COMPACT_BELOW * len(alive):
            index = running.nonzero().squeeze(-1)
            keep_rows(cache, index)
            alive, tokens, attention_mask, start = alive[index], tokens[index], attention_mask[index], start[index]
            running = running[index]
        attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(alive), 1)], dim=1)
        logits = policy.forward(tokens.unsqueeze(1), attention_mask, start + k, cache)[:, -1]
    return record.rollouts(prompt_ids, group, eos)
