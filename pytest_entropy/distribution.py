"""The next-token distribution: log-probabilities, exact entropies and draws from softmax(logits / T)."""

from __future__ import annotations

from typing import Any

import torch


def log_distribution(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """log softmax(logits / T) over the last dimension, in float32 or better."""
    return torch.log_softmax(_scaled(logits, temperature), dim=-1)


def _scaled(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """logits / T in float32 or better, without a copy where T = 1."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits if temperature == 1.0 else logits / temperature


def entropy(log_probs: torch.Tensor) -> torch.Tensor:
    """-sum p log p over the last dimension, in nats; an impossible token (log p = -inf) adds 0."""
    return -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(-1)


class TokenStatistics(torch.autograd.Function):
    """(log pi(t), H, Q) of ``[P, G, L, V]`` logits already divided by T, keeping one such tensor for backward.

    Q = sum_u p(u) q(u), the expected value of the token to come, for fixed ``values`` q ``[P, V]`` or None (then
    Q is zero).  Plain autograd would keep four.  d log pi(t) = e_t - p, dH = -p (log p + H), dQ = p (q - Q).
    """

    @staticmethod
    def forward(
        ctx: Any, scaled: torch.Tensor, tokens: torch.Tensor, values: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        log_p = torch.log_softmax(scaled, dim=-1)
        own = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        # An impossible token adds 0 to every sum: 0 times a finite number.
        log_p.clamp_(min=torch.finfo(log_p.dtype).min)
        p = log_p.exp()
        nats = -(p * log_p).sum(-1)
        expected = torch.zeros_like(nats) if values is None else _per_prompt(p, values)
        ctx.save_for_backward(log_p, nats, tokens, expected, values)
        return own, nats, expected

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        grad_log_prob, grad_entropy, grad_expected = grads
        log_p, nats, tokens, expected, values = ctx.saved_tensors
        p = log_p.exp()
        # Everything is p times a factor: a multiple of log p, of q, and of one.
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
) -> tuple[torch.Tensor, torch.Tensor]:
    """log pi(t_k) and H_k, both of the shape of ``tokens``, in nats, differentiable in ``logits``."""
    return TokenStatistics.apply(_scaled(logits, temperature), tokens, None)[:2]


def token_statistics_and_values(
    logits: torch.Tensor, tokens: torch.Tensor, temperature: float, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same and Q_k = sum_u pi(u | t_<k) q_n(u), all ``[P, G, L]``, differentiable in ``logits``.

    ``logits`` is ``[P, G, L, V]``; ``values`` q is ``[P, T]`` with T <= V, zero from T on.
    """
    values = torch.nn.functional.pad(values, (0, logits.shape[-1] - values.shape[-1]))
    scaled = _scaled(logits, temperature)
    return TokenStatistics.apply(scaled, tokens, values.to(scaled))


def draw(log_probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token per row by inverting the cumulative distribution in float64.

    ``log_probs`` is ``[rows, V]``, ``uniform`` ``[rows]`` in [0, 1).  A token of probability zero is never
    drawn: the first index whose cumulative mass exceeds u has mass itself.
    """
    cumulative = log_probs.double().exp().cumsum(-1)
    target = (uniform.double() * cumulative[:, -1]).unsqueeze(-1)
    drawn = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    return drawn.clamp_(max=log_probs.shape[-1] - 1)


def surprisal_rank(
    log_p: torch.Tensor, tokens: torch.Tensor, uniform: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Randomised probability-integral transform of the surprisal, and the surprisal's standard deviation.

    u_k = (mass of strictly likelier tokens) + V * (mass of tokens as likely), V uniform and independent.  If
    t_k is drawn from exactly this distribution u_k is uniform on (0, 1) given the prefix (Rosenblatt 1952,
    randomised for a discrete variable).  Shapes: ``log_p`` [..., V]; the others and both results [...].
    """
    p = log_p.double().exp()
    own = log_p.gather(-1, tokens.unsqueeze(-1))
    above = (p * (log_p > own)).sum(-1)
    tied = (p * (log_p == own)).sum(-1)
    surprisal = -log_p.double().clamp(min=-745.0)
    mean = (p * surprisal).sum(-1)
    spread = ((p * surprisal.square()).sum(-1) - mean.square()).clamp(min=0).sqrt()
    return (above + uniform * tied) / p.sum(-1), spread
