"""The update direction against torch's own AdamW, taking one real step from the same state."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_entropy.optimizers.state import AdamWState, ParameterState

# Enough tensors to see any systematic error; a full fine-tune need not be stepped whole in float64.
MOST_ELEMENTS = 5_000_000


def oracle_gap(
    rule: str,
    gradient: Mapping[str, torch.Tensor],
    state: AdamWState,
    parameters: Mapping[str, torch.Tensor],
    direction: Mapping[str, torch.Tensor],
    *,
    max_grad_norm: float | None = None,
) -> float:
    """Largest relative difference, over parameters, between ``direction`` and a real optimizer's step / eta.

    ``preconditioned`` is AdamW with beta1 = 0, no decay, and a stored second moment set back so that this step
    arrives at the one the checkpoint holds.
    """
    clip = real_clipping(gradient, max_grad_norm) if rule == "adamw" and max_grad_norm is not None else 1.0
    largest = max((entry.lr for entry in state.values()), default=0.0)
    worst, seen = 0.0, 0
    for name, g in gradient.items():
        if seen > MOST_ELEMENTS:
            break
        seen += g.numel()
        real = real_step(rule, g.double() * clip, state.get(name), parameters[name].detach().double())
        share = state[name].lr / largest if rule != "sgd" and largest > 0 else 1.0
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


def real_step(rule: str, g: torch.Tensor, state: ParameterState | None, theta: torch.Tensor) -> torch.Tensor:
    """(theta_after - theta_before) / lr of one step of a torch optimizer, float64."""
    parameter = torch.nn.Parameter(theta.clone() if rule == "adamw" else torch.zeros_like(theta))
    parameter.grad = g
    optimizer: torch.optim.Optimizer
    # A rate of 1 makes the difference the direction itself, without losing digits to the parameter's size.
    if rule == "sgd" or state is None:
        optimizer = torch.optim.SGD([parameter], lr=1.0)
    else:
        beta1, beta2 = state.betas
        v, step = state.exp_avg_sq.double(), state.step
        if rule == "preconditioned":
            beta1, v, step = 0.0, (v - (1 - beta2) * g.square()) / beta2, state.step - 1
        decay = state.weight_decay if rule == "adamw" else 0.0
        optimizer = torch.optim.AdamW([parameter], lr=1.0, betas=(beta1, beta2), eps=state.eps, weight_decay=decay)
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": state.exp_avg.double().clone(),
            "exp_avg_sq": v.clone(),
        }
    optimizer.step()
    return parameter.detach() - (theta if rule == "adamw" else 0.0)
