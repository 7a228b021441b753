"""AdamW's next step, with momentum, weight decay and gradient clipping (arXiv 1711.05101, algorithm 2)."""

from __future__ import annotations

import torch

from pytest_entropy.optimizers import adam
from pytest_entropy.optimizers.rules.base import Tensors, UpdateRule
from pytest_entropy.optimizers.state import AdamWState, ParameterState


def direction(
    gradient: Tensors, state: AdamWState, parameters: Tensors, *, max_grad_norm: float | None = None
) -> dict[str, torch.Tensor]:
    """u = -(m-hat / (sqrt(v-hat) + eps) + lambda theta) times the relative rate, by parameter name, float64.

    m-hat and v-hat are the moments after the clipped gradient has been added (docs/mathematics.md §2).

    Args:
        gradient: of the loss, by parameter name, in the parameters' shapes.
        state: the optimizer state of the same parameters.
        parameters: theta by parameter name.
        max_grad_norm: the largest gradient norm; None for no clipping.

    Raises:
        ValueError: the optimizer has not taken a step yet.
    """
    rate = adam.relative_rates(state)
    clip = adam.clip_factor(gradient, max_grad_norm)
    return {
        name: rate[name] * adam.adamw_step(adam.advance(state[name], g * clip), parameters[name])
        for name, g in gradient.items()
    }


def torch_step(g: torch.Tensor, state: ParameterState | None, theta: torch.Tensor) -> torch.Tensor:
    """One parameter's step by ``torch.optim.AdamW`` from the stored state, at learning rate 1.

    Args:
        g: the parameter's gradient, already clipped.
        state: the parameter's optimizer state.
        theta: the parameter before the step.

    Raises:
        ValueError: the parameter has no state.
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


UPDATE_RULE = UpdateRule(direction, torch_step, linear=False, clips=True, elementwise=True)
