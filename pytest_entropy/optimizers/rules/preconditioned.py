"""The gradient divided by the root of the stored second moment: AdamW without momentum, weight decay and clipping."""

from __future__ import annotations

import torch

from pytest_entropy.optimizers import adam
from pytest_entropy.optimizers.rules.base import Tensors, UpdateRule
from pytest_entropy.optimizers.state import AdamWState, ParameterState


def direction(
    gradient: Tensors, state: AdamWState, parameters: Tensors, *, max_grad_norm: float | None = None
) -> dict[str, torch.Tensor]:
    """u = -g / (sqrt(v-hat) + eps) times the group's relative rate, by parameter name, float64.

    v-hat is the stored second moment, without this gradient, so that u is linear in g (docs/mathematics.md §2).

    Args:
        gradient: of the loss, by parameter name, in the parameters' shapes.
        state: the optimizer state of the same parameters.
        parameters, max_grad_norm: not used.

    Raises:
        ValueError: the optimizer has not taken a step yet.
    """
    return pushforward(gradient, state)


def pushforward(vector: Tensors, state: AdamWState) -> dict[str, torch.Tensor]:
    """J y = -y / (sqrt(v-hat) + eps) times the group's relative rate, by parameter name, float64.

    Args:
        vector: y by parameter name.
        state: the optimizer state of the same parameters.

    Raises:
        ValueError: the optimizer has not taken a step yet.
    """
    rate = adam.relative_rates(state)
    return {name: -rate[name] * y.double() / _scale(state[name]) for name, y in vector.items()}


def pullback(covector: Tensors, state: AdamWState) -> dict[str, torch.Tensor]:
    """J^T x by parameter name, float64: J is diagonal, and so is its transpose.

    The operations are in the order of automatic differentiation, so that both give the same bits.

    Args:
        covector: x by parameter name.
        state: the optimizer state of the same parameters.

    Raises:
        ValueError: the optimizer has not taken a step yet.
    """
    rate = adam.relative_rates(state)
    return {name: x.double() / _scale(state[name]) * -rate[name] for name, x in covector.items()}


def _scale(state: ParameterState) -> torch.Tensor:
    return adam.second_moment(state).sqrt() + state.eps


def torch_step(g: torch.Tensor, state: ParameterState | None, theta: torch.Tensor) -> torch.Tensor:
    """One parameter's step by ``torch.optim.AdamW`` without weight decay, at learning rate 1.

    The gradient stands where the momentum would, and the optimizer is given a gradient of 0, so that its second moment
    decays to the stored one exactly; taking g^2 off the stored moment instead leaves rounding only where that is 0.

    Args:
        g: the parameter's gradient.
        state: the parameter's optimizer state.
        theta: the parameter, of which only the shape is used.

    Raises:
        ValueError: the parameter has no state.
    """
    if state is None:
        raise ValueError("the preconditioned step needs the optimizer's second moment")
    # Started from 0 at rate 1, the parameter becomes the direction itself, without cancellation against theta.
    parameter = torch.nn.Parameter(torch.zeros_like(theta))
    parameter.grad = torch.zeros_like(parameter)
    beta1, beta2 = 0.5, state.betas[1]
    optimizer = torch.optim.AdamW([parameter], lr=1.0, betas=(beta1, beta2), eps=state.eps, weight_decay=0.0)
    optimizer.state[parameter] = {
        "step": torch.tensor(float(state.step - 1)),
        "exp_avg": g.double() * (1 - beta1**state.step) / beta1,
        "exp_avg_sq": state.exp_avg_sq.double() / beta2,
    }
    optimizer.step()
    return parameter.detach()


UPDATE_RULE = UpdateRule(
    direction, torch_step, linear=True, elementwise=True, pushforward=pushforward, pullback=pullback
)
