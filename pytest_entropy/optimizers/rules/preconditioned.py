"""The gradient over the root of the stored second moment: AdamW's next step without momentum, decay and clipping."""

from __future__ import annotations

import torch

from pytest_entropy.optimizers import adam
from pytest_entropy.optimizers.rules.base import Tensors, UpdateRule
from pytest_entropy.optimizers.state import AdamWState, ParameterState


def direction(
    gradient: Tensors, state: AdamWState, parameters: Tensors, *, max_grad_norm: float | None = None
) -> dict[str, torch.Tensor]:
    """u = -g / (sqrt(v-hat) + eps) with v-hat as stored, times the group's relative rate; linear in g."""
    return pushforward(gradient, state)


def pushforward(vector: Tensors, state: AdamWState) -> dict[str, torch.Tensor]:
    """J y = -y / (sqrt(v-hat) + eps)."""
    rate = adam.relative_rates(state)
    return {name: -rate[name] * y.double() / _scale(state[name]) for name, y in vector.items()}


def pullback(covector: Tensors, state: AdamWState) -> dict[str, torch.Tensor]:
    """J^T x: J is diagonal, in the order of operations that automatic differentiation has."""
    rate = adam.relative_rates(state)
    return {name: x.double() / _scale(state[name]) * -rate[name] for name, x in covector.items()}


def _scale(state: ParameterState) -> torch.Tensor:
    return adam.second_moment(state).sqrt() + state.eps


def torch_step(g: torch.Tensor, state: ParameterState | None, theta: torch.Tensor) -> torch.Tensor:
    """AdamW with beta1 = 0 and no decay, its stored second moment set back so that this step arrives at the stored one.

    Raises:
        ValueError: a parameter without state.
    """
    if state is None:
        raise ValueError("the preconditioned step needs the optimizer's second moment")
    # At 0 with a rate of 1 the parameter becomes the direction itself, without losing digits to its size.
    parameter = torch.nn.Parameter(torch.zeros_like(theta))
    parameter.grad = g
    beta2 = state.betas[1]
    before = (state.exp_avg_sq.double() - (1 - beta2) * g.square()) / beta2
    optimizer = torch.optim.AdamW([parameter], lr=1.0, betas=(0.0, beta2), eps=state.eps, weight_decay=0.0)
    optimizer.state[parameter] = {
        "step": torch.tensor(float(state.step - 1)),
        "exp_avg": state.exp_avg.double().clone(),
        "exp_avg_sq": before.clone(),
    }
    optimizer.step()
    return parameter.detach()


UPDATE_RULE = UpdateRule(direction, torch_step, linear=True, pushforward=pushforward, pullback=pullback)
