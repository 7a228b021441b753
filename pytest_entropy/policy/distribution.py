"""The next-token distribution: log-probabilities, exact entropies and draws from softmax(logits / T)."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class TokenStatistics(torch.autograd.Function):
    """(log pi(t), H, Q, max log pi), each ``[P, G, L]`` in nats, of ``[P, G, L, V]`` logits already divided by T.

    Q = sum_u p(u) q(u) is the expected action value of the next token, for fixed action values q.  The derivatives
    with respect to the logits are d log pi(t) = e_t - p, dH = -p (log p + H) and dQ = p (q - Q); max log pi has none.
    Only one tensor of the logits' size is saved for backward, where plain autograd would save four.
    """

    @staticmethod
    def forward(
        ctx: Any, scaled: torch.Tensor, tokens: torch.Tensor, values: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute the four tables.

        Args:
            ctx: autograd's context.
            scaled: ``[P, G, L, V]``, logits / T.
            tokens: ``[P, G, L]`` int64, the tokens t.
            values: ``[P, V]`` nats, the action values q; None for Q = 0.
        """
        log_p = torch.log_softmax(scaled, dim=-1)
        drawn = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        likeliest = log_p.amax(-1)
        # A token of probability 0 must contribute 0 to every sum, so its log p is made finite.
        log_p.clamp_(min=torch.finfo(log_p.dtype).min)
        p = log_p.exp()
        nats = -(p * log_p).sum(-1)
        expected = torch.zeros_like(nats) if values is None else _per_prompt(p, values)
        ctx.save_for_backward(log_p, nats, tokens, expected, values)
        ctx.mark_non_differentiable(likeliest)
        return drawn, nats, expected, likeliest

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient with respect to ``scaled``, ``[P, G, L, V]``, given those with respect to the four results."""
        grad_log_prob, grad_entropy, grad_expected, _ = grads
        log_p, nats, tokens, expected, values = ctx.saved_tensors
        p = log_p.exp()
        # Apart from e_t, the gradient is p times a combination of log p, q and a constant.
        constant = grad_log_prob + grad_entropy * nats + grad_expected * expected
        out = (p * log_p).mul_(-grad_entropy.unsqueeze(-1))
        if values is not None:
            out += p * values[:, None, None] * grad_expected.unsqueeze(-1)
        out -= p.mul_(constant.unsqueeze(-1))
        out.scatter_add_(-1, tokens.unsqueeze(-1), grad_log_prob.unsqueeze(-1))
        return out, None, None


def _per_prompt(p: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """sum_u p(u) q_n(u): ``[P, G, L, V]`` and ``[P, V]`` to ``[P, G, L]``."""
    return torch.matmul(p, values[:, None, :, None]).squeeze(-1)


def token_statistics(
    logits: torch.Tensor, tokens: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log pi(t_k) and H_k, differentiable in ``logits``, and max_u log pi(u), each ``[P, G, L]`` in nats.

    Args:
        logits: ``[P, G, L, V]``.
        tokens: ``[P, G, L]`` int64.
        temperature: T.
    """
    drawn, nats, _, likeliest = _statistics(_scaled(logits, temperature), tokens, None)
    return drawn, nats, likeliest


def token_statistics_and_values(
    logits: torch.Tensor, tokens: torch.Tensor, temperature: float, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """log pi(t_k), H_k, Q_k = sum_u pi(u | t_<k) q_n(u), differentiable in ``logits``, and max_u log pi(u).

    Each is ``[P, G, L]``, in nats.  Q_k is the baseline of docs/variance-reduction.md.

    Args:
        logits: ``[P, G, L, V]``.
        tokens: ``[P, G, L]`` int64.
        temperature: T.
        values: ``[P, T]`` nats with T <= V, the action values q_n of the first T token ids; the others have 0.
    """
    values = torch.nn.functional.pad(values, (0, logits.shape[-1] - values.shape[-1]))
    scaled = _scaled(logits, temperature)
    return _statistics(scaled, tokens, values.to(scaled))


def _statistics(
    scaled: torch.Tensor, tokens: torch.Tensor, values: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    found: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    found = TokenStatistics.apply(scaled, tokens, values)  # type: ignore[no-untyped-call]
    return found


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


def surprisal_rank(
    log_p: torch.Tensor, tokens: torch.Tensor, uniform: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Randomised probability-integral transform of the surprisal, and the surprisal's standard deviation in nats.

    u_k = (probability of strictly likelier tokens) + v_k * (probability of equally likely tokens), v_k uniform and
    independent.  If t_k is drawn from exactly this distribution, u_k is uniform on (0, 1) given the prefix (Rosenblatt
    1952, randomised for a discrete variable; docs/mathematics.md §8).  Both results are ``[...]``.

    Args:
        log_p: ``[..., V]`` nats.
        tokens: ``[...]`` int64, the drawn tokens t_k.
        uniform: ``[...]``, independent random numbers v_k in [0, 1).
    """
    p = log_p.double().exp()
    drawn = log_p.gather(-1, tokens.unsqueeze(-1))
    above = (p * (log_p > drawn)).sum(-1)
    tied = (p * (log_p == drawn)).sum(-1)
    surprisal = -log_p.double().clamp(min=-745.0)
    mean = (p * surprisal).sum(-1)
    spread = ((p * surprisal.square()).sum(-1) - mean.square()).clamp(min=0).sqrt()
    return (above + uniform * tied) / p.sum(-1), spread
