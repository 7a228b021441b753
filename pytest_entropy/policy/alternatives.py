"""Named wrong samplers q, each a known distortion of the policy p, and the evidence for them in drawn tokens.

If tokens are drawn from p, prod_k q(t_k) / p(t_k) has mean exactly 1 whatever the model, the prompts and the
lengths, so its logarithm is evidence with a guaranteed error rate (an e-value: Vovk & Wang 2021, Ann. Stat.
49, 1736), and no test against q itself has more power (Neyman & Pearson).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

# Entries of [tokens, vocabulary] looked at at once: bounds memory whatever the vocabulary.
SLICE_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Tokens:
    """A slice of drawn tokens: raw ``logits``, policy ``log_p``, bool ``seen``, all ``[n, V]``; ``drawn`` ``[n]``.

    ``mass`` ``[n, V]`` is the cumulative probability of the likeliest tokens, ``rank`` ``[n]`` how many tokens are
    likelier than the drawn one.
    """

    logits: torch.Tensor
    log_p: torch.Tensor
    seen: torch.Tensor
    drawn: torch.Tensor
    temperature: float
    end_ids: tuple[int, ...]

    @cached_property
    def own(self) -> torch.Tensor:
        return self.log_p.gather(-1, self.drawn.unsqueeze(-1))

    @cached_property
    def mass(self) -> torch.Tensor:
        return self.log_p.sort(dim=-1, descending=True).values.double().exp().cumsum(-1)

    @cached_property
    def rank(self) -> torch.Tensor:
        return (self.log_p > self.own).sum(-1)


# For each drawn token: log q(t)/p(t) and KL(q || p), both [n] float64.
Alternative = Callable[[Tokens], tuple[torch.Tensor, torch.Tensor]]


def _truncated(t: Tokens, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``size`` ``[n]`` likeliest tokens alone: log q/p is -log of their mass for each of them."""
    gain = -t.mass.gather(-1, (size - 1).unsqueeze(-1)).squeeze(-1).clamp(max=1.0).log()
    return torch.where(t.rank < size, gain, -torch.inf), gain


def _reweighted(t: Tokens, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """q = softmax(scores), for scores that leave no token impossible."""
    log_q = torch.log_softmax(scores, dim=-1)
    ratio = log_q - t.log_p
    kl = (log_q.exp() * ratio).sum(-1, dtype=torch.float64)
    return ratio.gather(-1, t.drawn.unsqueeze(-1)).squeeze(-1).double(), kl


def tempered(factor: float) -> Alternative:
    """Temperature ``factor`` times the policy's."""
    return lambda t: _reweighted(t, t.log_p / factor)


def top_k(k: int) -> Alternative:
    """The k likeliest tokens alone."""
    return lambda t: _truncated(t, torch.full_like(t.drawn, min(k, t.log_p.shape[-1])))


def top_p(mass: float) -> Alternative:
    """The fewest likeliest tokens that hold ``mass``."""
    return lambda t: _truncated(t, (t.mass < mass).sum(-1).clamp(max=t.mass.shape[-1] - 1) + 1)


def min_p(share: float) -> Alternative:
    """Tokens at least ``share`` times as likely as the likeliest."""
    return lambda t: _truncated(t, (t.log_p >= t.log_p.amax(-1, keepdim=True) + math.log(share)).sum(-1))


def repetition_penalty(penalty: float) -> Alternative:
    """transformers' penalty on the logits of tokens in the prompt or the response so far (Keskar et al. 2019)."""

    def penalised(t: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        lowered = torch.where(t.logits < 0, t.logits * penalty, t.logits / penalty)
        return _reweighted(t, torch.where(t.seen, lowered, t.logits) / t.temperature)

    return penalised


def end_token_odds(factor: float) -> Alternative:
    """The end tokens ``factor`` times as likely, before normalising."""

    def weighted(t: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        scores = t.log_p.clone()
        scores[..., list(t.end_ids)] += math.log(factor)
        return _reweighted(t, scores)

    return weighted


ALTERNATIVES: dict[str, Alternative] = {
    "temperature x 0.7": tempered(0.7),
    "temperature x 0.9": tempered(0.9),
    "temperature x 1.1": tempered(1.1),
    "temperature x 1.4": tempered(1.4),
    "top-k 5": top_k(5),
    "top-k 20": top_k(20),
    "top-k 50": top_k(50),
    "top-p 0.8": top_p(0.8),
    "top-p 0.95": top_p(0.95),
    "min-p 0.05": min_p(0.05),
    "repetition penalty 1.05": repetition_penalty(1.05),
    "repetition penalty 1.2": repetition_penalty(1.2),
    "end token half as likely": end_token_odds(0.5),
    "end token twice as likely": end_token_odds(2.0),
}


def log_ratios(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    seen: Callable[[int, int], torch.Tensor],
    *,
    temperature: float,
    end_ids: tuple[int, ...],
) -> torch.Tensor:
    """``[J, 2]`` float64 by alternative: sum_k log q(t_k)/p(t_k), and sum_k KL(q || p) at the same prefixes.

    The second is what the first would be on average if q were the sampler: what these tokens could have shown.

    Args:
        logits: ``[n, V]``, of the tokens that count.
        tokens: ``[n]``.
        seen: for rows ``first .. last``, ``[last - first, V]`` bool of tokens in the prompt or response so far.
        temperature: the policy's.
        end_ids: the policy's end tokens.
    """
    total = torch.zeros(len(ALTERNATIVES), 2, dtype=torch.float64, device=logits.device)
    rows = max(1, SLICE_ENTRIES // logits.shape[-1])
    for first in range(0, len(tokens), rows):
        last = min(first + rows, len(tokens))
        raw = logits[first:last].float() if logits.dtype != torch.float64 else logits[first:last]
        log_p = torch.log_softmax(raw / temperature, dim=-1)
        piece = Tokens(raw, log_p, seen(first, last), tokens[first:last], temperature, end_ids)
        for j, alternative in enumerate(ALTERNATIVES.values()):
            ratio, kl = alternative(piece)
            total[j, 0] += ratio.double().sum()
            total[j, 1] += kl.double().sum()
    return total


def of_responses(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    prompt_ids: Sequence[Sequence[int]],
    position: int,
    *,
    temperature: float,
    end_ids: tuple[int, ...],
) -> torch.Tensor:
    """:func:`log_ratios` in the response tokens from ``position`` on that ``logits`` ``[P, G, l, V]`` predict.

    ``tokens`` and ``mask`` are ``[P, G, L]``, of the whole responses.
    """
    span = slice(position, position + logits.shape[2])
    where = mask[:, :, span].nonzero()
    in_prompt = torch.zeros(len(tokens), logits.shape[-1], dtype=torch.bool, device=logits.device)
    for n, ids in enumerate(prompt_ids):
        in_prompt[n, list(ids)] = True
    first_of_prompt = torch.tensor([ids[0] for ids in prompt_ids], device=logits.device)

    def seen(first: int, last: int) -> torch.Tensor:
        prompt, response, k = where[first:last].unbind(1)
        earlier = torch.arange(tokens.shape[2], device=logits.device) < (k + position).unsqueeze(1)
        # Later tokens are replaced by one that is marked anyway.
        marked = torch.where(earlier, tokens[prompt, response], first_of_prompt[prompt].unsqueeze(1))
        return in_prompt[prompt].scatter_(1, marked, True)

    drawn = tokens[:, :, span][mask[:, :, span]]
    return log_ratios(logits[mask[:, :, span]], drawn, seen, temperature=temperature, end_ids=end_ids)
