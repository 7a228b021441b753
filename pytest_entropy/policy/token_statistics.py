"""The numbers of a token that its position's logits give: log pi(t), H, Q, max log pi and the surprisal's rank.

Each is a sum over the vocabulary.  All are computed in one pass, a few rows at a time, so that a row's intermediate
results stay in the processor's cache; a table of the logits' size is made only for what backward needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

# Entries of [tokens, vocabulary] that a CPU works on at once: a few tables of this size fit its cache.
CACHE_ENTRIES = 2**19
# A control variate is multiplied by the output layer's rows of its own tokens if they are fewer than this share of V.
SPARSE_SHARE = 0.5


@dataclass(frozen=True)
class Asked:
    """What is asked of the next-token distributions.

    Attributes:
        temperature: T of softmax(logits / T).
        values: q(u) ``[T]`` nats, T <= V, the action values of the first T token ids; those of the others are 0.  None
            without a control variate.
    """

    temperature: float
    values: torch.Tensor | None = None

    def values_of(self, vocabulary: int, like: torch.Tensor) -> torch.Tensor | None:
        """The action values of all tokens, ``[V]``, with the dtype and on the device of ``like``; None without any."""
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
    """

    log_probs: torch.Tensor
    entropies: torch.Tensor
    expected: torch.Tensor
    likeliest: torch.Tensor
    ranks: torch.Tensor | None = None
    surprisal_sd: torch.Tensor | None = None


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
        """The columns of :class:`TokenNumbers`; the arguments are those of :func:`token_statistics`."""
        rows, drawn = logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1)
        dtype = _at_least_float32(logits.dtype)
        table = torch.empty(rows.shape, dtype=dtype, device=rows.device) if ctx.needs_input_grad[0] else None
        columns = _Columns(drawn, uniform, dtype)
        values = asked.values_of(rows.shape[-1], columns.nats)
        for span in slices(rows):
            log_p, _ = columns.fill(span, rows[span], asked.temperature, values)
            if table is not None:
                table[span] = log_p
        if table is not None:
            ctx.save_for_backward(table, drawn, columns.nats, columns.expected, values)
            ctx.temperature, ctx.dtype = asked.temperature, logits.dtype
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
            part -= p.mul_(constant[span])
            part.scatter_add_(-1, drawn[span].unsqueeze(-1), grad_log_prob[span])
            out[span] = part if ctx.temperature == 1.0 else part.div_(ctx.temperature)
        return out.reshape(*grads[0].shape, -1), None, None, None


class HeadStatistics(torch.autograd.Function):
    """:func:`token_statistics` of a frozen linear output layer's logits, differentiable in the hidden states.

    Backward gets any combination of the three gradients, so the three vectors J^T dS/dlogits are computed in the
    forward pass, while the distribution is at hand: backward needs no logits, and costs nothing for a second estimator.
    As many products with the layer's weight are made as by a backward that recomputes the logits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        head: torch.nn.Linear,
        tokens: torch.Tensor,
        asked: Asked,
        uniform: torch.Tensor | None,
        block: int,
    ) -> tuple[torch.Tensor | None, ...]:
        """The columns of :class:`TokenNumbers`, ``[n]``.

        Args:
            ctx: autograd's context.
            hidden: ``[n, H]``.
            head: the output layer, whose parameters get no gradient.
            tokens: ``[n]`` int64.
            asked: temperature and action values.
            uniform: ``[n]`` random numbers in [0, 1), or None for no ranks.
            block: how many tokens' logits are computed at a time.
        """
        columns = _Columns(tokens, uniform, _at_least_float32(hidden.dtype))
        values = asked.values_of(head.out_features, columns.nats)
        needed = ctx.needs_input_grad[0]
        support = _support(asked, head) if needed else None
        parts = []
        for first in range(0, len(hidden), block):
            span = slice(first, min(first + block, len(hidden)))
            logits = head(hidden[span])
            if needed:
                parts.append(_pulled_back(logits, head.weight, columns, span, asked.temperature, values, support))
                continue
            for rows in slices(logits):
                columns.fill(_shift(rows, first), logits[rows], asked.temperature, values)
        if needed:
            vectors = [torch.cat(column) for column in zip(*parts, strict=True)]
            ctx.save_for_backward(*(vector.div_(asked.temperature) for vector in vectors))
            ctx.dtype = hidden.dtype
        found = columns.shaped(tokens.shape)
        ctx.mark_non_differentiable(*(x for x in found[3:] if x is not None))
        return found

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None, None]:
        """The gradient with respect to the hidden states, ``[n, H]``, given those with respect to the columns."""
        by_log_prob, by_entropy, *by_expected = ctx.saved_tensors
        out = grads[0].unsqueeze(-1) * by_log_prob
        out += grads[1].unsqueeze(-1) * by_entropy
        for vector in by_expected:
            out += grads[2].unsqueeze(-1) * vector
        return out.to(ctx.dtype), None, None, None, None, None


def _support(asked: Asked, head: torch.nn.Linear) -> torch.Tensor | None:
    """The token ids that have an action value, if a product with their rows alone is cheaper and as exact; else None.

    In half precision the mean of all rows, which that product needs too, would be rounded too coarsely.
    """
    if asked.values is None or head.weight.dtype not in (torch.float32, torch.float64):
        return None
    ids = asked.values.nonzero().squeeze(-1)
    return ids.to(head.weight.device) if len(ids) < SPARSE_SHARE * head.out_features else None


def _pulled_back(
    logits: torch.Tensor,
    weight: torch.Tensor,
    columns: _Columns,
    span: slice,
    temperature: float,
    values: torch.Tensor | None,
    support: torch.Tensor | None,
) -> list[torch.Tensor]:
    """Fill the columns of ``span``; W^T (e_t - p), W^T (-p (log p + H)) and, with values, W^T p (q - Q), ``[n, H]``.

    The logits ``[n, V]`` are overwritten.
    """
    away = torch.empty_like(logits)
    width = 0 if values is None else len(values if support is None else support)
    tilted = logits.new_empty(len(logits), width)
    for rows in slices(logits):
        where = _shift(rows, span.start)
        log_p, p = columns.fill(where, logits[rows], temperature, values)
        drawn = columns.tokens[where].unsqueeze(-1)
        own = p.gather(-1, drawn)
        # In the precision of p: the difference to 1 of a likely token's probability is lost in half precision.
        away[rows] = p.scatter_(-1, drawn, own - 1)
        p.scatter_(-1, drawn, own)
        logits[rows] = log_p.add_(columns.nats[where].unsqueeze(-1)).mul_(p)
        if values is not None and support is None:
            tilted[rows] = p.mul_(values - columns.expected[where].unsqueeze(-1))
        elif values is not None and support is not None:
            tilted[rows] = p[:, support].mul_(values[support])
    by_log_prob = (away @ weight).neg_()
    pulled = [by_log_prob, (logits @ weight).neg_()]
    if values is not None and support is None:
        pulled.append(tilted @ weight)
    elif values is not None and support is not None:
        mean = weight[columns.tokens[span]] - by_log_prob
        pulled.append((tilted @ weight[support]).sub_(mean.mul_(columns.expected[span].unsqueeze(-1))))
    return pulled


class _Columns:
    """The columns of :class:`TokenNumbers` of n tokens, which are filled a slice of rows at a time."""

    def __init__(self, tokens: torch.Tensor, uniform: torch.Tensor | None, dtype: torch.dtype) -> None:
        self.tokens, self.uniform = tokens, None if uniform is None else uniform.reshape(-1)
        self.log_probs, self.nats, self.likeliest = (
            torch.empty(tokens.shape, dtype=dtype, device=tokens.device) for _ in range(3)
        )
        self.expected = torch.zeros_like(self.nats)
        self.ranks, self.spread = (
            torch.empty(0 if uniform is None else len(tokens), dtype=torch.float64, device=tokens.device)
            for _ in range(2)
        )

    def fill(
        self, span: slice, logits: torch.Tensor, temperature: float, values: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fill the rows of ``span`` from their logits ``[r, V]``; log p, made finite, and p, both ``[r, V]``."""
        scaled = logits.to(self.nats.dtype)
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
        if self.uniform is not None:
            # Tokens as likely as t have its very log p, so their probability is its own times their number.
            above = torch.gt(log_p, drawn, out=room).mul_(p).sum(-1).double()
            tied = torch.eq(log_p, drawn, out=room).sum(-1) * drawn.squeeze(-1).exp()
            self.ranks[span] = (above + self.uniform[span] * tied) / p.sum(-1)
            torch.add(log_p, self.nats[span].unsqueeze(-1), out=room)
            self.spread[span] = room.square_().mul_(p).sum(-1).sqrt()
        return log_p, p

    def shaped(self, shape: torch.Size) -> tuple[torch.Tensor | None, ...]:
        """The columns in this shape."""
        found = (self.log_probs, self.nats, self.expected, self.likeliest)
        more = (None, None) if self.uniform is None else (self.ranks.reshape(shape), self.spread.reshape(shape))
        return *(column.reshape(shape) for column in found), *more


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


def _shift(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
