"""The next-token distribution: log-probabilities, exact entropies and draws from softmax(logits / T)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pytest_entropy.errors import RunError

# Entries of [rows, vocabulary] drawn from at once: bounds the float64 copies that drawing makes.
DRAW_ENTRIES = 2**25


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
    """(log pi(t), H, Q, max log pi) of ``[P, G, L, V]`` logits already divided by T, keeping one such tensor for
    backward.

    Q = sum_u p(u) q(u), the expected value of the token to come, for fixed ``values`` q ``[P, V]`` or None (then
    Q is zero).  Plain autograd would keep four.  d log pi(t) = e_t - p, dH = -p (log p + H), dQ = p (q - Q); the
    likeliest token's log pi has no derivative here.
    """

    @staticmethod
    def forward(
        ctx: Any, scaled: torch.Tensor, tokens: torch.Tensor, values: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        log_p = torch.log_softmax(scaled, dim=-1)
        own = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        likeliest = log_p.amax(-1)
        # An impossible token adds 0 to every sum: 0 times a finite number.
        log_p.clamp_(min=torch.finfo(log_p.dtype).min)
        p = log_p.exp()
        nats = -(p * log_p).sum(-1)
        expected = torch.zeros_like(nats) if values is None else _per_prompt(p, values)
        ctx.save_for_backward(log_p, nats, tokens, expected, values)
        ctx.mark_non_differentiable(likeliest)
        return own, nats, expected, likeliest

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        grad_log_prob, grad_entropy, grad_expected, _ = grads
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
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log pi(t_k) and H_k, differentiable in ``logits``, and max_u log pi(u), all in nats, shaped like ``tokens``."""
    own, nats, _, likeliest = _statistics(_scaled(logits, temperature), tokens, None)
    return own, nats, likeliest


def token_statistics_and_values(
    logits: torch.Tensor, tokens: torch.Tensor, temperature: float, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """log pi(t_k), H_k, Q_k = sum_u pi(u | t_<k) q_n(u), differentiable in ``logits``, and max_u log pi(u).

    All results are ``[P, G, L]``.
    ``logits`` is ``[P, G, L, V]``; ``values`` q is ``[P, T]`` with T <= V, zero from T on.
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
    """One token per row by inverting the cumulative distribution in float64.

    ``log_probs`` is ``[rows, V]``, ``uniform`` ``[rows]`` in [0, 1).  A token of probability zero is never
    drawn: the first index whose cumulative mass exceeds u has mass itself.
    """
    cumulative = log_probs.double().exp().cumsum(-1)
    target = (uniform.double() * cumulative[:, -1]).unsqueeze(-1)
    drawn = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    return drawn.clamp_(max=log_probs.shape[-1] - 1)


def draw_discrepancy(log_probs: torch.Tensor, tokens: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """By how much probability a token misses its random number: 0 where :func:`draw` would pick it, float64.

    ``log_probs`` is ``[..., V]``; the others and the result ``[...]``.
    """
    cumulative = log_probs.double().exp().cumsum(-1)
    target = uniform.double() * cumulative[..., -1]
    upper = cumulative.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    lower = upper - log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).double().exp()
    return torch.maximum(lower - target, target - upper).clamp(min=0)


class Drawn(NamedTuple):
    """One token per row, its log-probability and the entropy it was drawn with, all ``[rows]``, in nats."""

    tokens: torch.Tensor
    log_probs: torch.Tensor
    entropies: torch.Tensor

    def select(self, rows: torch.Tensor) -> Drawn:
        """Those of some rows."""
        return Drawn(*(column[rows] for column in self))


def draw_tokens(logits: torch.Tensor, temperature: float, uniform: torch.Tensor) -> Drawn:
    """:func:`draw` from softmax(logits / T) of ``[rows, V]``, a few rows at a time where V is large.

    Raises:
        RunError: the logits are not finite.
    """
    rows = max(1, DRAW_ENTRIES // logits.shape[-1])
    parts = [_draw_rows(*own, temperature) for own in zip(logits.split(rows), uniform.split(rows), strict=True)]
    return parts[0] if len(parts) == 1 else Drawn(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _draw_rows(logits: torch.Tensor, uniform: torch.Tensor, temperature: float) -> Drawn:
    log_p = log_distribution(logits, temperature)
    if not torch.isfinite(log_p.amax(-1)).all():
        raise RunError("the model's logits are not finite while sampling; check the weights and dtype")
    tokens = draw(log_p, uniform)
    return Drawn(tokens, log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), entropy(log_p))


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
