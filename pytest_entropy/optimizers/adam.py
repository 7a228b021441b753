"""Adam's arithmetic on one parameter's state: bias correction, moment update, step, gradient clipping, group rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from pytest_entropy.optimizers.state import AdamWState, ParameterState


def second_moment(state: ParameterState) -> torch.Tensor:
    """v-hat, the bias-corrected stored second moment, in the parameter's shape, float64.

    Source: Kingma and Ba, arXiv 1412.6980, algorithm 1.

    Raises:
        ValueError: the optimizer has not taken a step yet.
    """
    if state.step < 1:
        raise ValueError("the optimizer has not taken a step: there is no second moment to precondition with")
    return state.exp_avg_sq.double() / (1 - state.betas[1] ** state.step)


def advance(state: ParameterState, gradient: torch.Tensor) -> ParameterState:
    """The state after the optimizer has seen one more gradient: both moments updated, the step counted, float64.

    Args:
        state: of the parameter, before.
        gradient: of the loss, already clipped, in the parameter's shape.

    Source: Kingma and Ba, arXiv 1412.6980, algorithm 1.
    """
    beta1, beta2 = state.betas
    g = gradient.double()
    return replace(
        state,
        step=state.step + 1,
        exp_avg=beta1 * state.exp_avg.double() + (1 - beta1) * g,
        exp_avg_sq=beta2 * state.exp_avg_sq.double() + (1 - beta2) * g.square(),
    )


def adamw_step(state: ParameterState, parameter: torch.Tensor) -> torch.Tensor:
    """AdamW's step at learning rate 1, -(m-hat / (sqrt(v-hat) + eps) + lambda theta), float64.

    Args:
        state: of the parameter, to which :func:`advance` has just added the gradient.
        parameter: theta before the step.

    Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2.
    """
    m = state.exp_avg.double() / (1 - state.betas[0] ** state.step)
    return -(m / (_root(second_moment(state)) + state.eps) + state.weight_decay * parameter.detach().double())


def _root(v: torch.Tensor) -> torch.Tensor:
    """sqrt(v) with derivative 0 where v is 0, as for an embedding row that no token has used."""
    positive = v > 0
    return torch.where(positive, torch.where(positive, v, 1.0).sqrt(), 0.0)


def clip_factor(gradient: Mapping[str, torch.Tensor], max_norm: float | None) -> torch.Tensor:
    """The factor by which ``torch.nn.utils.clip_grad_norm_`` would multiply the gradient, a float64 scalar.

    Args:
        gradient: of the loss, by parameter name.
        max_norm: the largest Euclidean norm over all parameters; None for no clipping, factor 1.
    """
    if max_norm is None:
        return torch.ones((), dtype=torch.float64)
    parts = torch.stack([torch.linalg.vector_norm(g.double()) for g in gradient.values()])
    factor: torch.Tensor = max_norm / (torch.linalg.vector_norm(parts) + 1e-6)
    return factor.clamp(max=1.0)


def relative_rates(state: AdamWState) -> dict[str, float]:
    """Each parameter's learning rate divided by the largest, by parameter name; 1.0 if no rate is stored."""
    largest = max((entry.lr for entry in state.values()), default=0.0)
    return {name: entry.lr / largest if largest > 0 else 1.0 for name, entry in state.items()}
