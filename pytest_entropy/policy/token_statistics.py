"""The numbers of a token that its position's logits give: log pi(t), H, Q, max log pi and the surprisal's rank.

Each is a sum over the vocabulary.  All are computed in one pass, a few rows at a time, so that a row's intermediate
results stay in the processor's cache; a table of the logits' size is made only for what backward needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from pytest_entropy.policy.action_values import AddedValues

# Entries of [tokens, vocabulary] that a CPU works on at once: a few tables of this size fit its cache.
CACHE_ENTRIES = 2**19


@dataclass(frozen=True)
class Asked:
    """What is asked of the next-token distributions.

    Attributes:
        temperature: T of softmax(logits / T).
        values: q(u) ``[T]`` nats, T <= V, the action values of the first T token ids; those of the others are 0.  None
            without a control variate.
        added: what each drawn token's context adds to them, in the tokens' shape; None where it adds nothing.
        support: the token ids that have a value in some context, and token 0, in order; None where all may have one.
    """

    temperature: float
    values: torch.Tensor | None = None
    added: AddedValues | None = None
    support: torch.Tensor | None = None

    def select(self, index: torch.Tensor | tuple[slice, ...]) -> Asked:
        """What is asked of some of the drawn tokens."""
        return self if self.added is None else replace(self, added=self.added.select(index))

    def flat(self) -> Asked:
        """What is asked of the same tokens in one dimension."""
        return self if self.added is None else replace(self, added=self.added.flat())

    def values_of(self, vocabulary: int, like: torch.Tensor) -> torch.Tensor | None:
        """The action values of all tokens, ``[V]``; None without any.

        Args:
            vocabulary: V.
            like: a tensor with the dtype and device of the result.
        """
        if self.values is None:
            return None
        return torch.nn.functional.pad(self.values.to(like), (0, vocabulary - len(self.values)))


class TokenNumbers(NamedTuple):
    """Numbers of drawn tokens t, in the tokens' shape, in nats but for the ranks.

    Attributes:
        log_probs: log pi(t), differentiable.
        entropies: H, the distribution's entropy, differentiable.
        expected: Q = sum_u pi(u) q(u), the expected action value, differentiable; 0 without action values.
        likeliest: max_u log pi(u), without gradient.
        ranks: randomised surprisal ranks, float64, without gradient; None without random numbers.  A rank is the
            probability of strictly likelier tokens plus v times the probability of equally likely ones, v uniform and
            independent.  If t is drawn from exactly this distribution, its rank is uniform on (0, 1) given the prefix
            (Rosenblatt 1952, randomised for a discrete variable; docs/mathematics.md §8).
        surprisal_sd: the surprisal's standard deviation, float64, without gradient; None without random numbers.
        tied: the probability of the tokens that are as likely as t, float64, without gradient: with another random
            number the rank is (v - v') times it away; None without random numbers.
    """

    log_probs: torch.Tensor
    entropies: torch.Tensor
    expected: torch.Tensor
    likeliest: torch.Tensor
    ranks: torch.Tensor | None = None
    surprisal_sd: torch.Tensor | None = None
    tied: torch.Tensor | None = None


def token_statistics(
    logits: torch.Tensor, tokens: torch.Tensor, asked: Asked, uniform: torch.Tensor | None = None
) -> TokenNumbers:
    """The numbers of drawn tokens, differentiable in ``logits``.

    Args:
        logits: ``[..., V]``.
        tokens: ``[...]`` int64, the drawn tokens t.
        asked: temperature and action values.
        uniform: ``[...]``, independent random numbers v in [0, 1) for the ranks; None for no ranks.
    """
    found = TokenStatistics.apply(logits, tokens, asked, uniform)  # type: ignore[no-untyped-call]
    return TokenNumbers(*found)


class TokenStatistics(torch.autograd.Function):
    """:func:`token_statistics`, which saves one tensor of the logits' size for backward (plain autograd: four).

    The derivatives with respect to logits / T are d log pi(t) = e_t - p, dH = -p (log p + H) and dQ = p (q - Q).
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, tokens: torch.Tensor, asked: Asked, uniform: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        """The columns of :class:`TokenNumbers`.

        Args:
            ctx: autograd's context.
            logits, tokens, asked, uniform: as in :func:`token_statistics`.
        """
        rows, drawn = logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1)
        dtype = at_least_float32(logits.dtype)
        table = torch.empty(rows.shape, dtype=dtype, device=rows.device) if ctx.needs_input_grad[0] else None
        columns, asked = NumberColumns(drawn, uniform, dtype), asked.flat()
        values = asked.values_of(rows.shape[-1], columns.nats)
        for span in slices(rows):
            log_p, _ = columns.fill(span, rows[span], asked, values)
            if table is not None:
                table[span] = log_p
        if table is not None:
            ctx.save_for_backward(table, drawn, columns.nats, columns.expected, values)
            ctx.temperature, ctx.dtype, ctx.added = asked.temperature, logits.dtype, asked.added
        found = columns.shaped(tokens.shape)
        ctx.mark_non_differentiable(*(x for x in found[3:] if x is not None))
        return found

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """The gradient with respect to the logits, ``[..., V]``, given those with respect to the columns."""
        grad_log_prob, grad_entropy, grad_expected = (g.reshape(-1, 1) for g in grads[:3])
        table, drawn, nats, expected, values = ctx.saved_tensors
        # Apart from e_t, the gradient is p times a combination of log p, q and a constant.
        constant = grad_log_prob + grad_entropy * nats.unsqueeze(-1) + grad_expected * expected.unsqueeze(-1)
        out = torch.empty(table.shape, dtype=ctx.dtype, device=table.device)
        for span in slices(table):
            log_p = table[span]
            p = log_p.exp()
            part = (p * log_p).mul_(-grad_entropy[span])
            if values is not None:
                part += (p * values).mul_(grad_expected[span])
            if ctx.added is not None:
                ids, more = ctx.added.select(span).rows(p)
                part.scatter_add_(-1, ids, p.gather(-1, ids).mul_(more).mul_(grad_expected[span]))
            part -= p.mul_(constant[span])
            part.scatter_add_(-1, drawn[span].unsqueeze(-1), grad_log_prob[span])
            out[span] = part if ctx.temperature == 1.0 else part.div_(ctx.temperature)
        return out.reshape(*grads[0].shape, -1), None, None, None


class NumberColumns:
    """The columns of :class:`TokenNumbers` of n tokens, which are filled a slice of rows at a time.

    Args:
        tokens: ``[n]`` int64.
        uniform: ``[n]`` random numbers in [0, 1) for the ranks; None for no ranks.
        dtype: of log-probabilities and entropies.
    """

    def __init__(self, tokens: torch.Tensor, uniform: torch.Tensor | None, dtype: torch.dtype) -> None:
        self.tokens, self.uniform = tokens, None if uniform is None else uniform.reshape(-1)
        self.log_probs, self.nats, self.likeliest = (
            torch.empty(tokens.shape, dtype=dtype, device=tokens.device) for _ in range(3)
        )
        self.expected = torch.zeros_like(self.nats)
        self.ranks, self.spread, self.tied = (
            torch.empty(0 if uniform is None else len(tokens), dtype=torch.float64, device=tokens.device)
            for _ in range(3)
        )

    def fill(
        self, span: slice, logits: torch.Tensor, asked: Asked, values: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fill some rows; log p, made finite, and p, both ``[r, V]``.

        Args:
            span: the rows.
            logits: their logits ``[r, V]``.
            asked: gives the temperature, and what contexts add, of all n tokens in one dimension.
            values: ``[V]`` nats, the action values by token; None without any.
        """
        scaled, temperature = logits.to(self.nats.dtype), asked.temperature
        log_p = torch.log_softmax(scaled if temperature == 1.0 else scaled / temperature, dim=-1)
        drawn = log_p.gather(-1, self.tokens[span].unsqueeze(-1))
        self.log_probs[span] = drawn.squeeze(-1)
        self.likeliest[span] = log_p.amax(-1)
        # A token of probability 0 must contribute 0 to every sum, so its log p is made finite.
        log_p.clamp_(min=torch.finfo(log_p.dtype).min)
        p = log_p.exp()
        room = p * log_p
        self.nats[span] = -room.sum(-1)
        if values is not None:
            self.expected[span] = torch.mv(p, values)
        if asked.added is not None:
            ids, more = asked.added.select(span).rows(p)
            self.expected[span] += p.gather(-1, ids).mul_(more).sum(-1)
        if self.uniform is not None:
            # Tokens as likely as t have its very log p, so their probability is its own times their number.
            above = torch.gt(log_p, drawn, out=room).mul_(p).sum(-1).double()
            tied = torch.eq(log_p, drawn, out=room).sum(-1) * drawn.squeeze(-1).exp()
            total = p.sum(-1)
            self.ranks[span] = (above + self.uniform[span] * tied) / total
            self.tied[span] = (tied / total).double()
            torch.add(log_p, self.nats[span].unsqueeze(-1), out=room)
            self.spread[span] = room.square_().mul_(p).sum(-1).sqrt()
        return log_p, p

    def shaped(self, shape: torch.Size) -> tuple[torch.Tensor | None, ...]:
        """The columns in this shape."""
        found = (self.log_probs, self.nats, self.expected, self.likeliest)
        more = (None, None, None) if self.uniform is None else (self.ranks, self.spread, self.tied)
        return tuple(None if column is None else column.reshape(shape) for column in (*found, *more))


def slices(rows: torch.Tensor, entries: int | None = None) -> Iterator[slice]:
    """The rows in slices that a CPU's cache holds; on another device in one slice, unless ``entries`` bounds it.

    Args:
        rows: ``[n, V]``.
        entries: largest number of entries of a slice on another device; None for no bound.
    """
    bound = CACHE_ENTRIES if rows.device.type == "cpu" else entries
    step = len(rows) if bound is None else max(1, bound // rows.shape[-1])
    for first in range(0, len(rows), max(1, step)):
        yield slice(first, min(first + step, len(rows)))


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype of numbers computed from tensors of this dtype: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
