"""The step AdamW would really take: momentum, weight decay and clipping included (arXiv 1711.05101, algorithm 2)."""

from __future__ import annotations

import torch

from pytest_entropy.optimizers import adam
from pytest_entropy.optimizers.rules.base import Tensors, UpdateRule
from pytest_entropy.optimizers.state import AdamWState, ParameterState


def direction(
    gradient: Tensors, state: AdamWState, parameters: Tensors, *, max_grad_norm: float | None = None
) -> dict[str, torch.Tensor]:
    """u = -(m-hat / (sqrt(v-hat) + eps) + lambda theta) after one more, clipped gradient, times the relative rate."""
    rate = adam.relative_rates(state)
    clip = adam.clip_factor(gradient, max_grad_norm)
    return {
        name: rate[name] * adam.adamw_step(adam.advance(state[name], g * clip), parameters[name])
        for name, g in gradient.items()
    }


def torch_step(g: torch.Tensor, state: ParameterState | None, theta: torch.Tensor) -> torch.Tensor:
    """``torch.optim.AdamW`` from the stored state, at a rate of 1; ``g`` is clipped already.

    Raises:
        ValueError: a parameter without state.
    """
    if state is None:
        raise ValueError("AdamW's step needs the optimizer's moments")
    parameter = torch.nn.Parameter(theta.clone())
    parameter.grad = g
    optimizer = torch.optim.AdamW(
        [parameter], lr=1.0, betas=state.betas, eps=state.eps, weight_decay=state.weight_decay
    )
    optimizer.state[parameter] = {
        "step": torch.tensor(float(state.step)),
        "exp_avg": state.exp_avg.double().clone(),
        "exp_avg_sq": state.exp_avg_sq.double().clone(),
    }
    optimizer.step()
    return parameter.detach() - theta


UPDATE_RULE = UpdateRule(direction, torch_step, linear=False, clips=True)
