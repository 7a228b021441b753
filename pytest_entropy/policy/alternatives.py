"""Wrong samplers q by name, each a known distortion of the policy p, and the likelihood ratio of drawn tokens.

If tokens are drawn from p, the likelihood ratio prod_k q(t_k) / p(t_k) has mean exactly 1, whatever the model, the
prompts and the lengths.  So it is an e-value with a guaranteed error rate (Vovk & Wang 2021, Ann. Stat. 49, 1736), and
no test of p against q has more power (Neyman & Pearson).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

# Entries of [tokens, vocabulary] processed at once: bounds memory whatever the vocabulary.
SLICE_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Tokens:
    """A slice of n drawn tokens with their next-token distributions.

    Attributes:
        logits: ``[n, V]``, the model's, not divided by the temperature.
        log_p: ``[n, V]`` nats, the policy's log-probabilities.
        seen: ``[n, V]`` bool, the tokens that occur in the prompt or earlier in the response.
        drawn: ``[n]`` int64, ids of the drawn tokens.
        temperature: the policy's.
        end_ids: the policy's end tokens.
    """

    logits: torch.Tensor
    log_p: torch.Tensor
    seen: torch.Tensor
    drawn: torch.Tensor
    temperature: float
    end_ids: tuple[int, ...]

    @cached_property
    def drawn_log_p(self) -> torch.Tensor:
        """``[n, 1]`` nats: log p of the drawn tokens."""
        return self.log_p.gather(-1, self.drawn.unsqueeze(-1))

    @cached_property
    def mass(self) -> torch.Tensor:
        """``[n, V]`` float64: entry k is the probability of the k + 1 likeliest tokens together."""
        return self.log_p.sort(dim=-1, descending=True).values.double().exp().cumsum(-1)

    @cached_property
    def rank(self) -> torch.Tensor:
        """``[n]`` int64: the number of tokens likelier than the drawn one."""
        return (self.log_p > self.drawn_log_p).sum(-1)


# Drawn tokens -> log q(t)/p(t) of each and KL(q || p) at its prefix, both [n] float64, in nats.
Alternative = Callable[[Tokens], tuple[torch.Tensor, torch.Tensor]]


def _truncated(t: Tokens, size: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """q is p restricted to the ``size`` ``[n]`` likeliest tokens, so that log q/p is -log of their mass for each."""
    gain = -t.mass.gather(-1, (size - 1).unsqueeze(-1)).squeeze(-1).clamp(max=1.0).log()
    return torch.where(t.rank < size, gain, -torch.inf), gain


def _reweighted(t: Tokens, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """q = softmax(scores), for finite ``scores`` ``[n, V]``."""
    log_q = torch.log_softmax(scores, dim=-1)
    ratio = log_q - t.log_p
    kl = (log_q.exp() * ratio).sum(-1, dtype=torch.float64)
    return ratio.gather(-1, t.drawn.unsqueeze(-1)).squeeze(-1).double(), kl


def tempered(factor: float) -> Alternative:
    """A sampler at ``factor`` times the policy's temperature."""
    return lambda t: _reweighted(t, t.log_p / factor)


def top_k(k: int) -> Alternative:
    """Top-k sampling: only the k likeliest tokens."""
    return lambda t: _truncated(t, torch.full_like(t.drawn, min(k, t.log_p.shape[-1])))


def top_p(mass: float) -> Alternative:
    """Nucleus sampling: only the fewest likeliest tokens whose probability is at least ``mass``."""
    return lambda t: _truncated(t, (t.mass < mass).sum(-1).clamp(max=t.mass.shape[-1] - 1) + 1)


def min_p(share: float) -> Alternative:
    """Min-p sampling: only tokens at least ``share`` times as likely as the likeliest."""
    return lambda t: _truncated(t, (t.log_p >= t.log_p.amax(-1, keepdim=True) + math.log(share)).sum(-1))


def repetition_penalty(penalty: float) -> Alternative:
    """A sampler that penalises the logits of tokens in the prompt and the response so far, as transformers does.

    Source: Keskar et al. 2019, arXiv 1909.05858, section 4.1.
    """

    def penalised(t: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        lowered = torch.where(t.logits < 0, t.logits * penalty, t.logits / penalty)
        return _reweighted(t, torch.where(t.seen, lowered, t.logits) / t.temperature)

    return penalised


def end_token_odds(factor: float) -> Alternative:
    """A sampler whose end tokens have ``factor`` times the policy's probability, before normalisation."""

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
    """Log likelihood ratios of drawn tokens under all J alternatives, ``[J, 2]`` float64, in nats.

    Column 0 is sum_k log q(t_k)/p(t_k), column 1 sum_k KL(q || p) at the same prefixes: the mean of column 0 if q were
    the sampler, and so the evidence that these tokens could have given.

    Args:
        logits: ``[n, V]``, the model's at the n response tokens.
        tokens: ``[n]`` int64, the tokens drawn there.
        seen: maps (first, last) to ``[last - first, V]`` bool, the tokens in the prompt or earlier in the response for
            rows ``first .. last - 1``.
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
    """:func:`log_ratios` of the response tokens at positions ``position .. position + l - 1``, ``[J, 2]`` float64.

    Args:
        logits: ``[P, G, l, V]``, the model's at these positions.
        tokens: ``[P, G, L]`` int64, the whole responses.
        mask: ``[P, G, L]`` bool, True up to the end of each response.
        prompt_ids: the token ids of the P prompts.
        position: the position of the first of the l tokens.
        temperature: the policy's.
        end_ids: the policy's end tokens.
    """
    span = slice(position, position + logits.shape[2])
    rows = mask[:, :, span].nonzero()
    in_prompt = torch.zeros(len(tokens), logits.shape[-1], dtype=torch.bool, device=logits.device)
    for n, ids in enumerate(prompt_ids):
        in_prompt[n, list(ids)] = True
    first_of_prompt = torch.tensor([ids[0] for ids in prompt_ids], device=logits.device)

    def seen(first: int, last: int) -> torch.Tensor:
        prompt, response, k = rows[first:last].unbind(1)
        earlier = torch.arange(tokens.shape[2], device=logits.device) < (k + position).unsqueeze(1)
        # Tokens at or after the position are replaced by a prompt token, which is marked anyway.
        marked = torch.where(earlier, tokens[prompt, response], first_of_prompt[prompt].unsqueeze(1))
        return in_prompt[prompt].scatter_(1, marked, True)

    drawn = tokens[:, :, span][mask[:, :, span]]
    return log_ratios(logits[mask[:, :, span]], drawn, seen, temperature=temperature, end_ids=end_ids)
