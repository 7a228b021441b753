"""The numbers of drawn tokens, and their gradients, from the hidden states that a frozen output layer is applied to."""

from __future__ import annotations

from typing import Any

import torch

from pytest_entropy.policy.action_values import AddedValues
from pytest_entropy.policy.token_statistics import Asked, NumberColumns, at_least_float32, slices

# A control variate is multiplied by the output layer's rows of its own tokens if they are fewer than this share of V.
SPARSE_SHARE = 0.5


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
        columns = NumberColumns(tokens, uniform, at_least_float32(hidden.dtype))
        values = asked.values_of(head.out_features, columns.nats)
        needed = ctx.needs_input_grad[0]
        support = _support(asked, head) if needed else None
        parts = []
        for first in range(0, len(hidden), block):
            span = slice(first, min(first + block, len(hidden)))
            logits = head(hidden[span])
            if needed:
                parts.append(_pulled_back(logits, head.weight, columns, span, asked, values, support))
                continue
            for rows in slices(logits):
                columns.fill(_shift(rows, first), logits[rows], asked, values)
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
    if head.weight.dtype not in (torch.float32, torch.float64):
        return None
    ids = asked.support
    return ids if ids is not None and len(ids) < SPARSE_SHARE * head.out_features else None


def _pulled_back(
    logits: torch.Tensor,
    weight: torch.Tensor,
    columns: NumberColumns,
    span: slice,
    asked: Asked,
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
        log_p, p = columns.fill(where, logits[rows], asked, values)
        drawn = columns.tokens[where].unsqueeze(-1)
        own = p.gather(-1, drawn)
        # In the precision of p: the difference to 1 of a likely token's probability is lost in half precision.
        away[rows] = p.scatter_(-1, drawn, own - 1)
        p.scatter_(-1, drawn, own)
        logits[rows] = log_p.add_(columns.nats[where].unsqueeze(-1)).mul_(p)
        if values is not None:
            own_values = _tilted(p, values, asked.added and asked.added.select(where), support)
            if support is None:
                own_values.addcmul_(p, columns.expected[where].unsqueeze(-1), value=-1)
            tilted[rows] = own_values
    by_log_prob = (away @ weight).neg_()
    pulled = [by_log_prob, (logits @ weight).neg_()]
    if values is not None and support is None:
        pulled.append(tilted @ weight)
    elif values is not None and support is not None:
        mean = weight[columns.tokens[span]] - by_log_prob
        pulled.append((tilted @ weight[support]).sub_(mean.mul_(columns.expected[span].unsqueeze(-1))))
    return pulled


def _tilted(
    p: torch.Tensor, values: torch.Tensor, added: AddedValues | None, support: torch.Tensor | None
) -> torch.Tensor:
    """pi(u) q(c_k, u) of the tokens in ``support``, or of all, a row per drawn token."""
    out = p * values if support is None else p[:, support].mul_(values[support])
    if added is not None:
        ids, more = added.rows(p)
        places = ids if support is None else torch.searchsorted(support, ids)
        out.scatter_add_(-1, places, p.gather(-1, ids).mul_(more))
    return out


def _shift(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)
