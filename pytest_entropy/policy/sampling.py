"""Sampling from softmax(logits / T) by a loop of our own, because ``generate`` would apply generation defaults.

On a GPU the loop launches the work of some tokens before it looks which responses have ended.  Tokens of a response
after its end are dropped, and the others' do not depend on them, so that responses are the same.

Each response has its own random numbers, derived from the seed, the prompt's index and the response's index
(:mod:`pytest_entropy.records.seeds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pytest_entropy.policy.attention_mask import padding_needed, same_length
from pytest_entropy.policy.decoding import DecodingBatch, tokens_per_look
from pytest_entropy.policy.distribution import draw_tokens
from pytest_entropy.policy.kv_cache import repeat_rows
from pytest_entropy.policy.prefill import prefill
from pytest_entropy.policy.rollouts import Rollouts, gathered
from pytest_entropy.policy.sampling_record import Recorder
from pytest_entropy.records import phases

if TYPE_CHECKING:
    from pytest_entropy.policy.policy import Policy


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
    group, limit = uniforms.shape[1:]
    policy.require_room(max(map(len, prompt_ids)) + limit)
    if not policy.pads and padding_needed(prompt_ids):
        # A state that runs from token to token would run through the padding.
        places = same_length(prompt_ids)
        parts = ((some, sample(policy, [prompt_ids[n] for n in some], uniforms[some])) for some in places)
        return gathered(parts, len(prompt_ids))
    uniforms = uniforms.to(policy.device).reshape(-1, limit)
    last_logits, cache, prompt_mask = prefill(policy, prompt_ids, capacity=limit if policy.static_cache else 0)
    repeat_rows(cache, len(prompt_ids), group)
    logits = last_logits.repeat_interleave(group, dim=0)
    batch = DecodingBatch(policy, prompt_ids, group, limit, cache, prompt_mask)
    record = Recorder(len(uniforms), limit, policy.device, policy.dtype)
    per_look = tokens_per_look(policy.device)
    for k in range(limit):
        phases.report(len(batch.alive))
        drawn = draw_tokens(logits, policy.temperature, uniforms[:, k][batch.alive])
        record.write(batch.alive, k, drawn, batch.running)
        batch.take(drawn)
        last = k + 1 == limit
        if last or (k + 1) % per_look == 0:
            if batch.running_rows() == 0 or last:
                break
            batch.compact()
        logits = batch.step(k)
    return record.rollouts(prompt_ids, group, policy.eos_ids)
