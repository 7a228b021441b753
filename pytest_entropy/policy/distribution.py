"""The next-token distribution: log-probabilities, exact entropies and draws from softmax(logits / T)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from pytest_entropy.policy.block_search import SPAN, invert

# Entries of [rows, vocabulary] drawn from at once: bounds the float32 copies that drawing makes.
DRAW_ENTRIES = 2**25
# Tokens whose cumulative probabilities the check of the draws holds in float64 at once.
CHECKED_TOKENS = 2**15


def log_distribution(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """log softmax(logits / T) over the last dimension, in nats, float32 or float64.

    Args:
        logits: ``[..., V]``.
        temperature: T.
    """
    return torch.log_softmax(_scaled(logits, temperature), dim=-1)


def _scaled(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """logits / T in float32 or float64, without a copy if T = 1."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits if temperature == 1.0 else logits / temperature


def entropy(log_probs: torch.Tensor) -> torch.Tensor:
    """Shannon entropy -sum p log p over the last dimension, in nats; a token with log p = -inf contributes 0."""
    return -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(-1)


def draw(log_probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Draw one token per row, ``[rows]`` int64, by inverting the cumulative distribution in float64.

    A token of probability zero is never drawn: the first index whose cumulative probability exceeds u has positive
    probability.

    Args:
        log_probs: ``[rows, V]`` nats.
        uniform: ``[rows]`` random numbers in [0, 1).
    """
    if log_probs.shape[-1] > SPAN:
        return invert(log_probs, uniform)
    cumulative = log_probs.double().exp().cumsum(-1)
    target = (uniform.double() * cumulative[:, -1]).unsqueeze(-1)
    drawn = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    return drawn.clamp_(max=log_probs.shape[-1] - 1)


def draw_discrepancy(log_probs: torch.Tensor, tokens: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """How far each random number lies outside its token's interval of cumulative probability, ``[...]`` float64.

    0 where :func:`draw` would pick the token, up to the rounding of float64 sums.

    Args:
        log_probs: ``[..., V]`` nats.
        tokens: ``[...]`` int64, the tokens that were drawn.
        uniform: ``[...]``, the random numbers they were drawn with.
    """
    upper = total = torch.zeros_like(tokens, dtype=torch.float64)
    first = 0
    for log_p in log_probs.split(CHECKED_TOKENS, dim=-1):
        cumulative = log_p.double().exp().cumsum(-1) + total.unsqueeze(-1)
        place = (tokens - first).unsqueeze(-1)
        here = (place >= 0) & (place < log_p.shape[-1])
        at = cumulative.gather(-1, place.clamp(0, log_p.shape[-1] - 1))
        upper = torch.where(here.squeeze(-1), at.squeeze(-1), upper)
        total = cumulative[..., -1]
        first += log_p.shape[-1]
    target = uniform.double() * total
    lower = upper - log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).double().exp()
    return torch.maximum(lower - target, target - upper).clamp(min=0)


class Drawn(NamedTuple):
    """One drawn token per row, its log-probability and the entropy of its distribution, all ``[rows]``, in nats.

    ``finite``: ``[rows]`` bool, whether the row's distribution has finite logits; else the other three mean nothing.
    """

    tokens: torch.Tensor
    log_probs: torch.Tensor
    entropies: torch.Tensor
    finite: torch.Tensor


def draw_tokens(logits: torch.Tensor, temperature: float, uniform: torch.Tensor) -> Drawn:
    """Draw one token per row from softmax(logits / T), a few rows at a time if V is large; waits for no device.

    Args:
        logits: ``[rows, V]``.
        temperature: T.
        uniform: ``[rows]`` random numbers in [0, 1).
    """
    rows = max(1, DRAW_ENTRIES // logits.shape[-1])
    parts = [_draw_rows(*some, temperature) for some in zip(logits.split(rows), uniform.split(rows), strict=True)]
    return parts[0] if len(parts) == 1 else Drawn(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _draw_rows(logits: torch.Tensor, uniform: torch.Tensor, temperature: float) -> Drawn:
    log_p = log_distribution(logits, temperature)
    tokens = draw(log_p, uniform)
    likelihood = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return Drawn(tokens, likelihood, entropy(log_p), torch.isfinite(log_p.amax(-1)))
