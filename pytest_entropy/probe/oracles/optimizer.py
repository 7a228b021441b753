"""The update direction against a torch optimizer of the rule's own, taking one real step from the same state."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.optimizers.update_rules import update_rule

# Enough tensors to see any systematic error; a full fine-tune need not be stepped whole in float64.
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
        gradient, state, parameters: what ``direction`` was made from, by parameter name.
        direction: u by parameter name.
        max_grad_norm: clipping, for rules that clip.
    """
    chosen = update_rule(rule)
    clip = real_clipping(gradient, max_grad_norm) if chosen.clips and max_grad_norm is not None else 1.0
    largest = max((entry.lr for entry in state.values()), default=0.0)
    worst, seen = 0.0, 0
    for name, g in gradient.items():
        if seen > MOST_ELEMENTS:
            break
        seen += g.numel()
        real = chosen.torch_step(g.double() * clip, state.get(name), parameters[name].detach().double())
        share = state[name].lr / largest if chosen.needs_state and largest > 0 else 1.0
        size = float(real.norm()) * share
        gap = float((direction[name].double() - share * real).norm())
        worst = max(worst, gap / size if size > 0 else gap)
    return worst


def real_clipping(gradient: Mapping[str, torch.Tensor], max_norm: float) -> float:
    """What torch's own clipping multiplies the gradient by; 1 for a gradient of zero."""
    # A vector of the tensors' norms has the norm of them all, and is no second copy of the gradient.
    norms = torch.tensor([float(g.double().norm()) for g in gradient.values()], dtype=torch.float64)
    stand_in = torch.nn.Parameter(torch.zeros_like(norms))
    stand_in.grad = norms.clone()
    torch.nn.utils.clip_grad_norm_([stand_in], max_norm)
    whole = float(norms.norm())
    return float(stand_in.grad.norm()) / whole if whole else 1.0
