"""Compare the update direction with one step of a real torch optimizer from the same state (docs/mathematics.md §2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.optimizers.update_rules import update_rule
from pytest_entropy.stats.largest import largest

# About so many elements of a tensor are compared, evenly spread, if the rule steps each element by itself: a full
# fine-tune is not stepped twice in float64, and no tensor, and no run of elements longer than the spacing, is left out.
MOST_ELEMENTS = 1_000_000


def optimizer_discrepancy(
    rule: str,
    gradient: Mapping[str, torch.Tensor],
    state: AdamWState,
    parameters: Mapping[str, torch.Tensor],
    direction: Mapping[str, torch.Tensor],
    *,
    max_grad_norm: float | None = None,
) -> float:
    """Largest relative difference, over all parameters, between ``direction`` and a real optimizer's step / eta.

    Of a tensor with more than ``MOST_ELEMENTS`` elements every k-th one is compared, and the last, if the rule is
    elementwise; a rule that is not is compared on whole tensors.

    Args:
        rule: name of the update rule; its ``torch_step`` takes the real step.
        gradient, state, parameters: g, the optimizer's state and theta that ``direction`` was computed from, by
            parameter name.
        direction: u by parameter name.
        max_grad_norm: largest norm of the gradient, for rules that clip; None for no clipping.
    """
    chosen = update_rule(rule)
    clip = real_clipping(gradient, max_grad_norm) if chosen.clips and max_grad_norm is not None else 1.0
    rate = max((entry.lr for entry in state.values()), default=0.0)
    discrepancies = []
    for name, whole in gradient.items():
        some = _some(whole.numel()) if chosen.elementwise else slice(None)
        g, u, theta = (tensor.detach().ravel()[some].double() for tensor in (whole, direction[name], parameters[name]))
        own = state.get(name)
        if not chosen.elementwise:
            g, u, theta = (tensor.reshape(whole.shape) for tensor in (g, u, theta))
        elif own is not None:
            own = replace(own, exp_avg=own.exp_avg.ravel()[some], exp_avg_sq=own.exp_avg_sq.ravel()[some])
        real = chosen.torch_step(g * clip, own, theta)
        share = state[name].lr / rate if chosen.needs_state and rate > 0 else 1.0
        size = float(real.norm()) * share
        gap = float((u - share * real).norm())
        discrepancies.append(gap / size if size > 0 else gap)
    return largest(discrepancies)


def _some(count: int) -> torch.Tensor | slice:
    """Indices of about ``MOST_ELEMENTS`` of ``count`` elements, evenly spread, the last included; all if so few."""
    if count <= MOST_ELEMENTS:
        return slice(None)
    return torch.cat([torch.arange(0, count - 1, -(-count // MOST_ELEMENTS)), torch.tensor([count - 1])])


def real_clipping(gradient: Mapping[str, torch.Tensor], max_norm: float) -> float:
    """The oracle's clipping: the factor by which torch's ``clip_grad_norm_`` multiplies g; 1 for a gradient of zero.

    Args:
        gradient: g by parameter name.
        max_norm: largest norm over all tensors.
    """
    # The vector of the tensors' norms has the whole gradient's norm; clipping it needs no copy of the gradient.
    norms = torch.tensor([float(g.double().norm()) for g in gradient.values()], dtype=torch.float64)
    stand_in = torch.nn.Parameter(torch.zeros_like(norms))
    stand_in.grad = norms.clone()
    torch.nn.utils.clip_grad_norm_([stand_in], max_norm)
    whole = float(norms.norm())
    return float(stand_in.grad.norm()) / whole if whole else 1.0
