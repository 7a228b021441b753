"""Compare the update direction with one step of a real torch optimizer from the same state (docs/mathematics.md §2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.optimizers.update_rules import update_rule
from pytest_entropy.stats.largest import largest

# About so many parameters are compared: enough to see a systematic error without stepping a full fine-tune in float64.
MOST_ELEMENTS = 5_000_000


def optimizer_discrepancy(
    rule: str,
    gradient: Mapping[str, torch.Tensor],
    state: AdamWState,
    parameters: Mapping[str, torch.Tensor],
    direction: Mapping[str, torch.Tensor],
    *,
    max_grad_norm: float | None = None,
) -> float:
    """Largest relative difference, over parameters, between ``direction`` and a real optimizer's step / eta.

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
    discrepancies, seen = [], 0
    for name, g in gradient.items():
        if seen > MOST_ELEMENTS:
            break
        seen += g.numel()
        real = chosen.torch_step(g.double() * clip, state.get(name), parameters[name].detach().double())
        share = state[name].lr / rate if chosen.needs_state and rate > 0 else 1.0
        size = float(real.norm()) * share
        gap = float((direction[name].double() - share * real).norm())
        discrepancies.append(gap / size if size > 0 else gap)
    return largest(discrepancies)


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
