"""The update direction of a named update rule: the step an optimizer takes for a gradient (docs/mathematics.md §2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_entropy import registry
from pytest_entropy.optimizers.adam import clip_factor, relative_rates
from pytest_entropy.optimizers.rules.base import UpdateRule
from pytest_entropy.optimizers.state import AdamWState


def update_rule(name: str) -> UpdateRule:
    """Import and return the registered update rule of this name.

    Raises:
        ValueError: no rule has this name; the message lists the registered names.
        UsageError: the rule cannot be imported.
    """
    registered = registry.names("update_rules")
    if name not in registered:
        raise ValueError(f"unknown update rule {name!r}; known: {', '.join(registered)}")
    return registry.get("update_rules", name, UpdateRule)


def update_direction(
    rule: str,
    gradient: Mapping[str, torch.Tensor],
    state: AdamWState,
    parameters: Mapping[str, torch.Tensor],
    *,
    max_grad_norm: float | None = None,
    dtype: torch.dtype = torch.float64,
) -> dict[str, torch.Tensor]:
    """u = (theta_after - theta_before) / eta by parameter name (docs/mathematics.md §2).

    eta is the largest learning rate of all parameter groups; a group with a smaller rate moves proportionally less.

    Args:
        rule: the update rule's name.
        gradient: of the loss, by parameter name, in the parameters' shapes.
        state: the optimizer state of the same parameters; may be empty for a rule that needs no state.
        parameters: the current parameter values, by name.
        max_grad_norm: the largest gradient norm, for rules that clip; None for no clipping.
        dtype: that u is held in.  Other than float64, u is computed in float64 tensor by tensor, which takes less
            memory, for rules that step each element by itself; others give what they give.

    Raises:
        ValueError: the rule is unknown, gradient and state name different parameters, or the optimizer has not taken
            a step yet.
    """
    chosen = update_rule(rule)
    if chosen.needs_state and set(gradient) != set(state):
        unmatched = sorted(set(gradient) ^ set(state))
        raise ValueError(f"gradient and optimizer state name different parameters, for instance {unmatched[0]}")
    if dtype == torch.float64 or not chosen.elementwise:
        return chosen.direction(gradient, state, parameters, max_grad_norm=max_grad_norm)
    return _tensor_by_tensor(chosen, gradient, state, parameters, max_grad_norm if chosen.clips else None, dtype)


def _tensor_by_tensor(
    rule: UpdateRule,
    gradient: Mapping[str, torch.Tensor],
    state: AdamWState,
    parameters: Mapping[str, torch.Tensor],
    max_grad_norm: float | None,
    dtype: torch.dtype,
) -> dict[str, torch.Tensor]:
    """The direction of a rule that steps each element by itself, with one tensor at a time in float64.

    What tensors have in common, the clipping and the largest learning rate, is taken over all of them first.
    """
    clip = clip_factor(gradient, max_grad_norm)
    rate = relative_rates(state) if rule.needs_state else {}
    direction = {}
    for name, g in gradient.items():
        own = {name: state[name]} if name in state else {}
        u = rule.direction({name: g.double() * clip}, own, {name: parameters[name]})[name]
        direction[name] = (u * rate.get(name, 1.0)).to(dtype)
    return direction
