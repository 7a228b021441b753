"""The nucleus of a distribution, the fewest likeliest tokens of a given probability, without sorting the vocabulary."""

from __future__ import annotations

import math

import torch

# How often the interval that holds the threshold is halved before the tokens left in it are sorted.
HALVINGS = 8


def nucleus_threshold(log_p: torch.Tensor, p: torch.Tensor, mass: float, room: torch.Tensor) -> torch.Tensor:
    """The largest value of log p, ``[n, 1]`` nats, such that the tokens at least so likely have probability >= mass.

    Args:
        log_p: ``[n, V]`` nats, finite.
        p: ``[n, V]``, exp of it.
        mass: the least probability of the nucleus, in (0, 1).
        room: ``[n, V]``, a table of the same dtype, which is overwritten.
    """
    high = log_p.amax(-1, keepdim=True)
    # All tokens less likely than (1 - mass) / V together have less than 1 - mass; a thousandth off for rounding.
    low = torch.full_like(high, math.log1p(-mass) - math.log(log_p.shape[-1]) - 1e-3)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = torch.ge(log_p, middle, out=room).mul_(p).sum(-1, keepdim=True) >= mass
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    above = torch.gt(log_p, high, out=room).mul_(p).sum(-1).double()
    return _in_interval(log_p, low, high, mass - above)


def _in_interval(log_p: torch.Tensor, low: torch.Tensor, high: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    """The largest value such that the tokens from it up to ``high`` have the missing mass, ``[n, 1]``."""
    row, column = ((log_p >= low) & (log_p <= high)).nonzero(as_tuple=True)
    values, order = log_p[row, column].sort(descending=True, stable=True)
    row, again = row[order].sort(stable=True)
    values = values[again]
    count = torch.bincount(row, minlength=len(log_p))
    start = count.cumsum(0) - count
    total = torch.cat([values.new_zeros(1, dtype=torch.float64), values.double().exp().cumsum(0)])
    reached = total[1:] - total[start[row]] >= missing[row]
    short = torch.bincount(row[~reached], minlength=len(log_p))
    # Where rounding leaves the mass just short, the least likely token of the interval is the last of the nucleus.
    last = (start + torch.minimum(short, count - 1)).clamp(min=0)
    # No token is between bounds that are no numbers.
    found = torch.cat([values, low.new_zeros(1)])[last.clamp(max=len(values))].unsqueeze(-1)
    return torch.where(count.unsqueeze(-1) > 0, found, low)
