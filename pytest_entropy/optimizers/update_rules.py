"""The update direction of a named update rule: the step an optimizer takes for a gradient (docs/mathematics.md §2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_entropy import registry
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
) -> dict[str, torch.Tensor]:
    """u = (theta_after - theta_before) / eta by parameter name, float64 (docs/mathematics.md §2).

    eta is the largest learning rate of all parameter groups; a group with a smaller rate moves proportionally less.

    Args:
        rule: the update rule's name.
        gradient: of the loss, by parameter name, in the parameters' shapes.
        state: the optimizer state of the same parameters; may be empty for a rule that needs no state.
        parameters: the current parameter values, by name.
        max_grad_norm: the largest gradient norm, for rules that clip; None for no clipping.

    Raises:
        ValueError: the rule is unknown, gradient and state name different parameters, or the optimizer has not taken
            a step yet.
    """
    chosen = update_rule(rule)
    if chosen.needs_state and set(gradient) != set(state):
        unmatched = sorted(set(gradient) ^ set(state))
        raise ValueError(f"gradient and optimizer state name different parameters, for instance {unmatched[0]}")
    return chosen.direction(gradient, state, parameters, max_grad_norm=max_grad_norm)
