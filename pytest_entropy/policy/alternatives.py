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

from pytest_entropy.policy.nucleus import nucleus_threshold
from pytest_entropy.policy.token_statistics import slices

# Entries of [tokens, vocabulary] processed at once off the CPU: bounds memory whatever the vocabulary.
SLICE_ENTRIES = 2**28
# The largest k of top-k sampling below.
LARGEST_K = 50


@dataclass(frozen=True)
class Past:
    """The tokens in the prompt or earlier in the response, for n tokens.

    Attributes:
        ids: ``[n, S]`` int64; an entry that does not count holds the id of one that does, and each row has one.
        counted: ``[n, S]`` bool, True at one entry of every token id that occurred.
    """

    ids: torch.Tensor
    counted: torch.Tensor


@dataclass(frozen=True)
class Tokens:
    """A slice of n drawn tokens with their next-token distributions.

    Attributes:
        logits: ``[n, V]``, the model's, not divided by the temperature.
        log_p: ``[n, V]`` nats, the policy's log-probabilities, finite.
        past: the tokens in the prompt or earlier in the response.
        drawn: ``[n]`` int64, ids of the drawn tokens.
        temperature: the policy's.
        end_ids: the policy's end tokens.
    """

    logits: torch.Tensor
    log_p: torch.Tensor
    past: Past
    drawn: torch.Tensor
    temperature: float
    end_ids: tuple[int, ...]

    @cached_property
    def p(self) -> torch.Tensor:
        """``[n, V]``: the policy's probabilities."""
        return self.log_p.exp()

    @cached_property
    def room(self) -> torch.Tensor:
        """``[n, V]``: a table that every alternative may overwrite."""
        return torch.empty_like(self.log_p)

    @cached_property
    def drawn_log_p(self) -> torch.Tensor:
        """``[n, 1]`` nats: log p of the drawn tokens."""
        return self.log_p.gather(-1, self.drawn.unsqueeze(-1))

    @cached_property
    def top(self) -> torch.Tensor:
        """``[n, K]`` nats: log p of the likeliest tokens, the likeliest first."""
        return self.log_p.topk(min(LARGEST_K, self.log_p.shape[-1]), dim=-1).values


# Drawn tokens -> log q(t)/p(t) of each and KL(q || p) at its prefix, both [n] float64, in nats.
Alternative = Callable[[Tokens], tuple[torch.Tensor, torch.Tensor]]


def _truncated(t: Tokens, threshold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """q is p restricted to the tokens with log p >= ``threshold`` ``[n, 1]``; log q/p is -log of their mass for each.

    Tokens as likely as the threshold belong to them, however many they are, so that the mean of q/p is exactly 1.
    """
    mass = torch.ge(t.log_p, threshold, out=t.room).mul_(t.p).sum(-1).double()
    gain = -mass.clamp(max=1.0).log()
    return torch.where((t.drawn_log_p >= threshold).squeeze(-1), gain, -torch.inf), gain


def tempered(factor: float) -> Alternative:
    """A sampler at ``factor`` times the policy's temperature."""
    tilt = 1 / factor - 1

    def hotter(t: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        weight = torch.mul(t.log_p, 1 / factor, out=t.room).exp_()
        total = weight.sum(-1).double()
        mean = weight.mul_(t.log_p).sum(-1).double() / total
        return t.drawn_log_p.squeeze(-1).double() * tilt - total.log(), mean * tilt - total.log()

    return hotter


def top_k(k: int) -> Alternative:
    """Top-k sampling: only the k likeliest tokens, and those as likely as the last of them."""
    return lambda t: _truncated(t, t.top[:, min(k, t.top.shape[-1]) - 1].unsqueeze(-1))


def top_p(mass: float) -> Alternative:
    """Nucleus sampling: only the fewest likeliest tokens whose probability is at least ``mass``, with ties."""
    return lambda t: _truncated(t, nucleus_threshold(t.log_p, t.p, mass, t.room))


def min_p(share: float) -> Alternative:
    """Min-p sampling: only tokens at least ``share`` times as likely as the likeliest."""
    return lambda t: _truncated(t, t.log_p.amax(-1, keepdim=True) + math.log(share))


def repetition_penalty(penalty: float) -> Alternative:
    """A sampler that penalises the logits of tokens in the prompt and the response so far, as transformers does.

    Source: Keskar et al. 2019, arXiv 1909.05858, section 4.1.
    """

    def penalised(t: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        score = t.logits.gather(-1, t.past.ids).double()
        lowered = torch.where(score < 0, score * penalty, score / penalty)
        change = torch.where(t.past.counted, (lowered - score) / t.temperature, 0.0)
        weight = t.p.gather(-1, t.past.ids).double() * t.past.counted * change.exp()
        # Summed, not 1 - sum of the others: nearly all probability may lie on what was seen.
        unseen = t.room.copy_(t.p).scatter_(-1, t.past.ids, 0.0).sum(-1).double()
        total = (unseen + weight.sum(-1)).log()
        own = (change * (t.past.ids == t.drawn.unsqueeze(-1))).sum(-1)
        return own - total, (weight * change).sum(-1) / total.exp() - total

    return penalised


def end_token_odds(factor: float) -> Alternative:
    """A sampler whose end tokens have ``factor`` times the policy's probability, before normalisation."""

    def weighted(t: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        ends = torch.tensor(sorted(set(t.end_ids)), dtype=torch.int64, device=t.drawn.device)
        ending = t.p[:, ends].sum(-1).double()
        total = torch.log1p((factor - 1) * ending)
        own = math.log(factor) * torch.isin(t.drawn, ends)
        return own - total, factor * math.log(factor) * ending / total.exp() - total

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
    past: Callable[[slice], Past],
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
        past: maps a slice of rows to the tokens in the prompt or earlier in the response.
        temperature: the policy's.
        end_ids: the policy's end tokens.
    """
    total = torch.zeros(len(ALTERNATIVES), 2, dtype=torch.float64, device=logits.device)
    for rows in slices(logits, SLICE_ENTRIES):
        raw = logits[rows].float() if logits.dtype != torch.float64 else logits[rows]
        log_p = torch.log_softmax(raw if temperature == 1.0 else raw / temperature, dim=-1)
        # Finite also when divided by a temperature's factor, so that no product with a probability of 0 is undefined.
        log_p.clamp_(min=torch.finfo(log_p.dtype).min / 4)
        piece = Tokens(raw, log_p, past(rows), tokens[rows], temperature, end_ids)
        for j, alternative in enumerate(ALTERNATIVES.values()):
            ratio, kl = alternative(piece)
            total[j, 0] += ratio.sum()
            total[j, 1] += kl.sum()
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
    ids, first = _first_occurrences(tokens, prompt_ids)
    longest = ids.shape[2] - tokens.shape[2]
    index = torch.arange(ids.shape[2], device=ids.device)

    def past(some: slice) -> Past:
        prompt, response, k = rows[some].unbind(1)
        counted = first[prompt, response] & (index < (k + longest + position).unsqueeze(1))
        return Past(torch.where(counted, ids[prompt, response], ids[prompt, response, :1]), counted)

    drawn = tokens[:, :, span][mask[:, :, span]]
    return log_ratios(logits[mask[:, :, span]], drawn, past, temperature=temperature, end_ids=end_ids)


def _first_occurrences(tokens: torch.Tensor, prompt_ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts, filled with their first token, and responses: ids and whether they are the first of their kind.

    Both are ``[P, G, S + L]``, S the length of the longest prompt.
    """
    longest = max(map(len, prompt_ids))
    filled = [[*ids, *[ids[0]] * (longest - len(ids))] for ids in prompt_ids]
    prompts = torch.tensor(filled, device=tokens.device).unsqueeze(1).expand(-1, tokens.shape[1], -1)
    ids = torch.cat([prompts, tokens], dim=2)
    in_order, order = ids.sort(dim=-1, stable=True)
    new = torch.ones_like(ids, dtype=torch.bool)
    new[..., 1:] = in_order[..., 1:] != in_order[..., :-1]
    return ids, torch.zeros_like(new).scatter_(-1, order, new)
