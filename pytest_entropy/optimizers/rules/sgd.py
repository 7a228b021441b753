"""Plain gradient descent: the negative gradient; the optimizer state is ignored."""

from __future__ import annotations

import torch

from pytest_entropy.optimizers.rules.base import Tensors, UpdateRule
from pytest_entropy.optimizers.state import AdamWState, ParameterState


def direction(
    gradient: Tensors, state: AdamWState, parameters: Tensors, *, max_grad_norm: float | None = None
) -> dict[str, torch.Tensor]:
    """u = -g by parameter name, float64 (docs/mathematics.md §2).

    Args:
        gradient: of the loss, by parameter name.
        state, parameters, max_grad_norm: not used.
    """
    return negative(gradient, state)


def negative(vector: Tensors, state: AdamWState) -> dict[str, torch.Tensor]:
    """J y, which is J^T y as well, by parameter name, float64: the derivative J of the direction is -1.

    Args:
        vector: y by parameter name.
        state: not used.
    """
    return {name: -y.double() for name, y in vector.items()}


def torch_step(g: torch.Tensor, state: ParameterState | None, theta: torch.Tensor) -> torch.Tensor:
    """One parameter's step by ``torch.optim.SGD`` at learning rate 1, taken from a parameter of zeros.

    Args:
        g: the parameter's gradient.
        state: not used.
        theta: the parameter, of which only the shape is used.
    """
    parameter = torch.nn.Parameter(torch.zeros_like(theta))
    parameter.grad = g
    torch.optim.SGD([parameter], lr=1.0).step()
    return parameter.detach()


UPDATE_RULE = UpdateRule(
    direction, torch_step, linear=True, needs_state=False, elementwise=True, pushforward=negative, pullback=negative
)
