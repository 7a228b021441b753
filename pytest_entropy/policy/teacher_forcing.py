"""Teacher forcing: the policy's log-probabilities and entropies of given responses, token by token.

A prompt is computed once for the G responses of its group; gradients flow through the shared key/value cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from pytest_entropy.policy import alternatives
from pytest_entropy.policy.attention_mask import padding_needed, same_length
from pytest_entropy.policy.distribution import draw_discrepancy, log_distribution
from pytest_entropy.policy.kv_cache import repeat_rows
from pytest_entropy.policy.logits import (
    TABLE_ENTRIES,
    PiecewiseLogits,
    Predictions,
    TeacherForced,
    WholeLogits,
    values_of_prefixes,
)
from pytest_entropy.policy.prefill import left_padded, prefill
from pytest_entropy.policy.recomputation import recomputed_layers
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.row_map import row_groups
from pytest_entropy.policy.text_part import vocabulary
from pytest_entropy.policy.token_statistics import Asked, slices

if TYPE_CHECKING:
    from pytest_entropy.policy.policy import Policy

# Responses of so many tokens, and so many times as long as their prompt, gain little by sharing it.  Computed with it
# they need no mask: attention takes its fast kernel, and keeps no table of all pairs of tokens in every layer.
LONG, LONG_SHARE = 256, 8


def teacher_force(policy: Policy, rollouts: Rollouts, ranks: torch.Tensor | None = None) -> TeacherForced:
    """Token log-probabilities and exact next-token entropies of given responses, at the policy's temperature.

    They are differentiable in the parameters that require a gradient.

    Args:
        policy: the policy that scores.
        rollouts: the responses, ``[P, G, L]``.
        ranks: ``[P, G, L]`` uniform random numbers in [0, 1) for the randomised surprisal ranks; None for no ranks.

    Raises:
        RunError: the model is in training mode.
    """
    policy.require_eval()
    tokens = padded_tokens(policy, rollouts)
    tables = rollouts.control_variate
    made = predictions(policy, rollouts, tokens, with_hidden=tables is not None and len(tables.value) > 0)
    return scores(policy, rollouts, tokens, made, ranks)


def scores(
    policy: Policy, rollouts: Rollouts, tokens: torch.Tensor, made: Predictions, ranks: torch.Tensor | None = None
) -> TeacherForced:
    """:func:`teacher_force` from predictions that were made before.

    Args:
        policy: gives the temperature.
        rollouts: the responses, ``[P, G, L]``.
        tokens: ``[P, G, L]``, their tokens by :func:`padded_tokens`.
        made: of :func:`predictions`, with hidden states where the rollouts' tables have a value of prefixes.
        ranks: as in :func:`teacher_force`.
    """
    mask, asked, value = rollouts.mask.to(policy.device), Asked(policy.temperature), None
    if rollouts.control_variate is not None:
        tables = rollouts.control_variate.on(policy.device)
        added = tables.added_in(rollouts.contexts.to(policy.device)) if tables.width else None
        asked, value = Asked(policy.temperature, tables.token, added, tables.support), tables.value
    uniform = None if ranks is None else ranks.to(policy.device)
    found = made.statistics(asked, tokens, rollouts.mask, uniform)
    log_probs, nats, expected, likeliest, ranks, spread, tied = (
        None if column is None else torch.where(mask, column, 0.0) for column in found
    )
    if asked.values is None:
        expected = None
    hidden = made.hidden_states() if value is not None and len(value) else None
    values = None if hidden is None or value is None else torch.where(mask, values_of_prefixes(hidden, value), 0.0)
    return TeacherForced(log_probs, nats, ranks, spread, expected, likeliest, tied, values)  # type: ignore[arg-type]


@torch.no_grad()
def sampler_log_ratios(policy: Policy, rollouts: Rollouts) -> torch.Tensor:
    """Log likelihood ratios of the responses under J wrong samplers: :func:`alternatives.log_ratios`, ``[J, 2]``.

    Args:
        policy: the policy p of the null hypothesis.
        rollouts: the responses, ``[P, G, L]``.

    Raises:
        RunError: the model is in training mode.
    """
    policy.require_eval()
    tokens = padded_tokens(policy, rollouts)
    mask = rollouts.mask.to(policy.device)
    parts = [
        alternatives.of_responses(
            logits, tokens, mask, rollouts.prompt_ids, first, temperature=policy.temperature, end_ids=policy.eos_ids
        )
        for first, logits in predictions(policy, rollouts, tokens).pieces()
    ]
    return torch.stack(parts).sum(0)


@torch.no_grad()
def draw_discrepancies(policy: Policy, rollouts: Rollouts, uniforms: torch.Tensor) -> torch.Tensor:
    """How far each random number lies outside its token's interval of cumulative probability, ``[P, G, L]`` float64.

    One prompt at a time, so that memory does not grow with P.

    Args:
        policy: the policy that sampled.
        rollouts: the responses, ``[P, G, L]``.
        uniforms: ``[P, G, L]`` or longer, the random numbers that they were sampled with.

    Raises:
        RunError: the model is in training mode.
    """
    policy.require_eval()
    uniforms = uniforms.to(policy.device)
    gaps = torch.zeros(rollouts.tokens.shape, dtype=torch.float64, device=policy.device)
    for n in range(len(rollouts)):
        one = rollouts.select([n])
        tokens = padded_tokens(policy, one)
        for first, logits in predictions(policy, one, tokens).pieces():
            span = slice(first, first + logits.shape[2])
            table, drawn, picked = logits.flatten(0, 2), tokens[0, :, span].flatten(), uniforms[n, :, span].flatten()
            found = [
                draw_discrepancy(log_distribution(table[rows], policy.temperature), drawn[rows], picked[rows])
                for rows in slices(table, TABLE_ENTRIES)
            ]
            gaps[n, :, span] = torch.cat(found).reshape(rollouts.group_size, -1)
    return gaps * rollouts.mask.to(policy.device)


def padded_tokens(policy: Policy, rollouts: Rollouts) -> torch.Tensor:
    """The response tokens ``[P, G, L]`` on the policy's device, with a valid token id after the end of each response.

    Args:
        policy: gives the device and the token id.
        rollouts: the responses.
    """
    tokens, mask = rollouts.tokens.to(policy.device), rollouts.mask.to(policy.device)
    return torch.where(mask, tokens, tokens.new_full((), policy.eos_ids[0] if policy.eos_ids else 0))


def predictions(policy: Policy, rollouts: Rollouts, tokens: torch.Tensor, *, with_hidden: bool = False) -> Predictions:
    """The logits of each response token, whole or, if that table would be large, in pieces.

    Args:
        policy: the policy that scores.
        rollouts: the responses.
        tokens: ``[P, G, L]``, their tokens by :func:`padded_tokens`.
        with_hidden: whether hidden states are wanted as well, where the policy's output layer is plain.
    """
    rows, length = tokens.shape[0] * tokens.shape[1], tokens.shape[2]
    positions = max(1, TABLE_ENTRIES // (rows * vocabulary(policy.model)))
    whole = positions >= length or not policy.plain_head
    apart = not whole or (with_hidden and policy.plain_head)
    scored = policy.model.base_model if apart else policy.model
    with recomputed_layers(policy.model) if policy.recompute else nullcontext():
        found = (_shared if _shares_prompt(policy, rollouts) else _alone)(policy, rollouts.prompt_ids, tokens, scored)
    if not apart:
        return WholeLogits(found.reshape(*tokens.shape, -1))
    if whole:
        with row_groups(tokens.shape[1], length):
            logits = policy.model.get_output_embeddings()(found.contiguous()).to(found.device)
        return WholeLogits(logits.reshape(*tokens.shape, -1), found)
    return PiecewiseLogits(found, policy.model.get_output_embeddings(), tokens.shape[1], positions)


def _shares_prompt(policy: Policy, rollouts: Rollouts) -> bool:
    """Whether a prompt is computed once for its responses, which then see it through a cache and a mask."""
    if not policy.share_prompt or policy.recompute:
        return False
    longest = max(map(len, rollouts.prompt_ids))
    return padding_needed(rollouts.prompt_ids) or rollouts.tokens.shape[2] < max(LONG, LONG_SHARE * longest)


def logits_shared(policy: Policy, rollouts: Rollouts, tokens: torch.Tensor) -> torch.Tensor:
    """The logits that predict each response token, ``[P, G, L, V]``, with each prompt computed once per group.

    Args:
        policy: the policy that scores.
        rollouts: the responses.
        tokens: ``[P, G, L]``, their tokens by :func:`padded_tokens`.
    """
    return _shared(policy, rollouts.prompt_ids, tokens, policy.model).reshape(*tokens.shape, -1)


def _shared(
    policy: Policy, prompt_ids: Sequence[Sequence[int]], tokens: torch.Tensor, model: torch.nn.Module
) -> torch.Tensor:
    """Logits ``[P * G, L, V]`` if ``model`` is the model, last hidden states ``[P * G, L, H]`` if it is the body."""
    group, length = tokens.shape[1:]
    with row_groups(1, max(map(len, prompt_ids))):
        last, cache, attention_mask = prefill(policy, prompt_ids, model)
    first = last.repeat_interleave(group, dim=0).unsqueeze(1)
    if length > 1:
        repeat_rows(cache, len(prompt_ids), group)
        attention_mask = attention_mask.repeat_interleave(group, dim=0)
        start = attention_mask.sum(-1, keepdim=True)
        steps = torch.arange(length - 1, device=policy.device)
        attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(attention_mask), length - 1)], dim=1)
        inputs = tokens.reshape(-1, length)[:, :-1]
        with row_groups(group, length - 1):
            kept = attention_mask if padding_needed(prompt_ids) else None
            rest = policy.forward(inputs, kept, start + steps, cache, model=model)
        first = torch.cat([first, rest], dim=1)
    return first


def _alone(
    policy: Policy, prompt_ids: Sequence[Sequence[int]], tokens: torch.Tensor, model: torch.nn.Module
) -> torch.Tensor:
    """As :func:`_shared`, by one pass over prompt and response: for models or passes that cannot share a cache.

    A model that padding changes takes a pass for each length of prompt.
    """
    group, length = tokens.shape[1:]
    if not policy.pads and padding_needed(prompt_ids):
        places = same_length(prompt_ids)
        parts = [_alone(policy, [prompt_ids[n] for n in some], tokens[some], model) for some in places]
        found = torch.cat([part.reshape(-1, group, *part.shape[1:]) for part in parts])
        order = torch.tensor([n for some in places for n in some], device=found.device).argsort()
        return found[order].flatten(0, 1)
    ids, attention_mask = left_padded(policy, prompt_ids)
    ids = torch.cat([ids.repeat_interleave(group, dim=0), tokens.reshape(-1, length)], dim=1)
    attention_mask = attention_mask.repeat_interleave(group, dim=0)
    attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(attention_mask), length)], dim=1)
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    with row_groups(group, ids.shape[1]):
        kept = attention_mask if padding_needed(prompt_ids) else None
        found = policy.forward(ids, kept, positions, None, keep=length + 1, model=model)
    return found[:, -(length + 1) : -1]
