"""The step an optimizer takes for a gradient, as mathematics on tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from pytest_entropy.optimizers.state import AdamWState, ParameterState

UPDATE_RULES = ("preconditioned", "adamw", "sgd")


def second_moment(state: ParameterState) -> torch.Tensor:
    """v-hat: the bias-corrected second moment as stored, float64."""
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
    return (max_norm / (torch.linalg.vector_norm(parts) + 1e-6)).clamp(max=1.0)


def update_direction(
    rule: str,
    gradient: Mapping[str, torch.Tensor],
    state: AdamWState,
    parameters: Mapping[str, torch.Tensor],
    *,
    max_grad_norm: float | None = None,
) -> dict[str, torch.Tensor]:
    """u = (theta_after - theta_before) / eta by parameter name, float64 (docs/mathematics.md §2).

    ``preconditioned``: -g / (sqrt(v-hat) + eps) with v-hat as stored, linear in g.  ``adamw``: the step the
    optimizer would really take, with momentum, decay and clipping.  ``sgd``: -g.  A group whose stored rate
    differs from the others moves in proportion; eta is the rate of the largest group.

    Raises:
        ValueError: unknown rule; gradients and state of different parameters; state without a step.
    """
    if rule not in UPDATE_RULES:
        raise ValueError(f"unknown update rule {rule!r}; known: {', '.join(UPDATE_RULES)}")
    if rule != "sgd" and set(gradient) != set(state):
        lost = sorted(set(gradient) ^ set(state))
        raise ValueError(f"gradient and optimizer state name different parameters, for instance {lost[0]}")
    if rule == "sgd":
        return {name: -g.double() for name, g in gradient.items()}
    rate = relative_rates(state)
    if rule == "preconditioned":
        return {
            name: -rate[name] * g.double() / (second_moment(state[name]).sqrt() + state[name].eps)
            for name, g in gradient.items()
        }
    clip = clip_factor(gradient, max_grad_norm)
    return {
        name: rate[name] * adamw_step(advance(state[name], g * clip), parameters[name]) for name, g in gradient.items()
    }


def relative_rates(state: AdamWState) -> dict[str, float]:
    """Each parameter group's stored rate as a share of the largest; 1.0 where no rate is stored."""
    largest = max((entry.lr for entry in state.values()), default=0.0)
    return {name: entry.lr / largest if largest > 0 else 1.0 for name, entry in state.items()}
