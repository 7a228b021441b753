"""Plain gradient descent: the negative gradient, whatever state there is."""

from __future__ import annotations

import torch

from pytest_entropy.optimizers.rules.base import Tensors, UpdateRule
from pytest_entropy.optimizers.state import AdamWState, ParameterState


def direction(
    gradient: Tensors, state: AdamWState, parameters: Tensors, *, max_grad_norm: float | None = None
) -> dict[str, torch.Tensor]:
    """u = -g."""
    return negative(gradient, state)


def negative(vector: Tensors, state: AdamWState) -> dict[str, torch.Tensor]:
    """J y and J^T y alike, J = -1."""
    return {name: -y.double() for name, y in vector.items()}


def torch_step(g: torch.Tensor, state: ParameterState | None, theta: torch.Tensor) -> torch.Tensor:
    """``torch.optim.SGD`` at a rate of 1, from 0."""
    parameter = torch.nn.Parameter(torch.zeros_like(theta))
    parameter.grad = g
    torch.optim.SGD([parameter], lr=1.0).step()
    return parameter.detach()


UPDATE_RULE = UpdateRule(direction, torch_step, linear=True, needs_state=False, pushforward=negative, pullback=negative)
