"""Adam's arithmetic on one parameter's state: bias correction, one more gradient, the step, clipping, group rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from pytest_entropy.optimizers.state import AdamWState, ParameterState


def second_moment(state: ParameterState) -> torch.Tensor:
    """v-hat: the bias-corrected second moment as stored, in the parameter's shape, float64.

    Raises:
        ValueError: a state before its first step.
    """
    if state.step < 1:
        raise ValueError("the optimizer has not taken a step: there is no second moment to precondition with")
    return state.exp_avg_sq.double() / (1 - state.betas[1] ** state.step)


def advance(state: ParameterState, gradient: torch.Tensor) -> ParameterState:
    """The state after one more gradient."""
    beta1, beta2 = state.betas
    g = gradient.double()
    return replace(
        state,
        step=state.step + 1,
        exp_avg=beta1 * state.exp_avg.double() + (1 - beta1) * g,
        exp_avg_sq=beta2 * state.exp_avg_sq.double() + (1 - beta2) * g.square(),
    )


def adamw_step(state: ParameterState, parameter: torch.Tensor) -> torch.Tensor:
    """-(m-hat / (sqrt(v-hat) + eps) + lambda theta) for a state that has just been advanced, float64."""
    m = state.exp_avg.double() / (1 - state.betas[0] ** state.step)
    return -(m / (_root(second_moment(state)) + state.eps) + state.weight_decay * parameter.detach().double())


def _root(v: torch.Tensor) -> torch.Tensor:
    """sqrt(v), differentiable where v is exactly 0 as well (an embedding row never seen), where g is 0 too."""
    moved = v > 0
    return torch.where(moved, torch.where(moved, v, 1.0).sqrt(), 0.0)


def clip_factor(gradient: Mapping[str, torch.Tensor], max_norm: float | None) -> torch.Tensor:
    """The factor ``torch.nn.utils.clip_grad_norm_`` would multiply the gradient by (1 without a limit), float64."""
    if max_norm is None:
        return torch.ones((), dtype=torch.float64)
    parts = torch.stack([torch.linalg.vector_norm(g.double()) for g in gradient.values()])
    factor: torch.Tensor = max_norm / (torch.linalg.vector_norm(parts) + 1e-6)
    return factor.clamp(max=1.0)


def relative_rates(state: AdamWState) -> dict[str, float]:
    """Each parameter group's stored rate as a share of the largest; 1.0 where no rate is stored."""
    largest = max((entry.lr for entry in state.values()), default=0.0)
    return {name: entry.lr / largest if largest > 0 else 1.0 for name, entry in state.items()}
