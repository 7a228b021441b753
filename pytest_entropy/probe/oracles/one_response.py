"""One unpadded response by the bare model: its numbers and the gradient of its part of a surrogate, in float64.

The float64 tables are of a few positions at a time.  Nothing is shared with the policy's own scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.oracles.loops import LoopWeights, TokenValues

# Entries of the float64 tables [positions, vocabulary] that are held at once: 64 MiB each.
PIECE_ENTRIES = 2**23


class ResponseNumbers(NamedTuple):
    """The numbers of one response, a row per token.

    Attributes:
        log_probs: log pi(t_k), nats.
        entropies: H_k, nats.
        likeliest: the two largest probabilities, the larger first.
        expected: sum_u q(c_k, u) pi(u), nats; empty without action values.
        prefix_values: of each token's prefix, nats; empty without action values.
    """

    log_probs: list[float]
    entropies: list[float]
    likeliest: list[list[float]]
    expected: list[float]
    prefix_values: list[float]


def numbers_of_response(
    policy: Policy,
    prompt: list[int],
    response: list[int],
    values: Sequence[TokenValues] = (),
    value: torch.Tensor | None = None,
) -> ResponseNumbers:
    """The numbers of one response by the bare model, without gradient.

    Args:
        policy: gives model and temperature.
        prompt: the prompt's token ids.
        response: the response's token ids.
        values: the action values at each of its tokens; none if empty.
        value: what a prefix adds per unit of its features, ``[4, H]``; None or empty for nothing.
    """
    log_probs: list[float] = []
    expected: list[float] = []
    entropies: list[float] = []
    tops: list[list[float]] = []
    with torch.no_grad():
        logits = _logits(policy, prompt, response)
        for some in _pieces(logits):
            own, nats, p = _numbers(policy, logits[some], response[some])
            log_probs += own.tolist()
            entropies += nats.tolist()
            tops += p.topk(2, dim=-1).values.tolist()
            if values:
                expected += expected_values(p, values[some]).tolist()
    of_prefixes = prefix_values(policy, prompt, response, value) if values else []
    return ResponseNumbers(log_probs, entropies, tops, expected, of_prefixes)


@torch.no_grad()
def prefix_values(policy: Policy, prompt: list[int], response: list[int], value: torch.Tensor | None) -> list[float]:
    """The value of each token's prefix by the bare model's body, nats; zeros without a value.

    Args:
        policy: gives the model.
        prompt: the prompt's token ids.
        response: the response's token ids.
        value: what a prefix adds per unit of its features, ``[4, H]``; None or empty for nothing.
    """
    if value is None or not len(value):
        return [0.0] * len(response)
    ids = torch.tensor([prompt + response], device=policy.device)
    hidden = policy.model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, len(prompt) - 1 : -1]
    table: list[list[float]] = (hidden.double() @ value.to(hidden.device).T).tolist()
    found, means, sums = [], 0.0, 0.0
    for k, (own, _, of_mean, of_sum) in enumerate(table):
        means, sums = means + of_mean, sums + of_sum
        found.append(own + table[0][1] + means / (k + 1) + sums)
    return found


def expected_values(p: torch.Tensor, values: Sequence[TokenValues]) -> torch.Tensor:
    """sum_u q(c_k, u) pi(u) at a few tokens, ``[l]`` nats, one after the other.

    Args:
        p: the probabilities ``[l, V]``.
        values: the action values at each.
    """
    found = []
    for row, own in zip(p, values, strict=True):
        total = row[: len(own.token)] @ row.new_tensor(own.token)
        for token, value in own.added.items():
            total = total + value * row[token]
        found.append(total)
    return torch.stack(found)


def gradient_of_response(
    policy: Policy, prompt: list[int], response: list[int], weights: LoopWeights, g: int, names: list[str]
) -> tuple[torch.Tensor | None, ...]:
    """The gradient of one response's part of the surrogate in some parameters; None for one without influence.

    Args:
        policy: gives model and temperature.
        prompt: the prompt's token ids.
        response: the response's token ids.
        weights: of the prompt's responses.
        g: the response's number among them.
        names: the parameters.
    """
    with torch.enable_grad():
        logits = _logits(policy, prompt, response)
        slope = torch.empty_like(logits)
        for some in _pieces(logits):
            piece = logits[some].detach().requires_grad_(True)
            own, nats, p = _numbers(policy, piece, response[some])
            part = (own * own.new_tensor(weights.log_prob[g][some])).sum()
            part = part + (nats * nats.new_tensor(weights.entropy[g][some])).sum()
            if weights.expected_value:
                own_weights = p.new_tensor(weights.expected_value[g][some])
                part = part + (expected_values(p, weights.q[g][some]) * own_weights).sum()
            (slope[some],) = torch.autograd.grad(part, piece)
    return torch.autograd.grad(logits, [policy.trainable[name] for name in names], slope, allow_unused=True)


def _logits(policy: Policy, prompt: list[int], response: list[int]) -> torch.Tensor:
    """The bare model's logits ``[L, V]`` at the tokens of one response."""
    ids = torch.tensor([prompt + response], device=policy.device)
    logits: torch.Tensor = policy.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits


def _numbers(policy: Policy, logits: torch.Tensor, tokens: list[int]) -> tuple[torch.Tensor, ...]:
    """(log pi(t_k), H_k, pi) at a few tokens, ``[l]`` float64 nats twice and ``[l, V]``."""
    scaled = logits.double() / policy.temperature
    p = torch.softmax(scaled, dim=-1)
    log_p = scaled - torch.logsumexp(scaled, dim=-1, keepdim=True)
    own = log_p[torch.arange(len(tokens)), tokens]
    return own, -(p * log_p).sum(-1), p


def _pieces(logits: torch.Tensor) -> list[slice]:
    """The positions of a response in pieces whose float64 tables are small."""
    step = max(1, PIECE_ENTRIES // logits.shape[-1])
    return [slice(first, first + step) for first in range(0, len(logits), step)]
