"""Update rules by name: the step an optimizer takes for a gradient (docs/mathematics.md §2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_entropy import registry
from pytest_entropy.optimizers.rules.base import UpdateRule
from pytest_entropy.optimizers.state import AdamWState


def update_rule(name: str) -> UpdateRule:
    """The update rule of that name.

    Raises:
        ValueError: no rule has this name; those that are known are listed.
    """
    known = registry.names("update_rules")
    if name not in known:
        raise ValueError(f"unknown update rule {name!r}; known: {', '.join(known)}")
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

    A group whose stored rate differs from the others moves in proportion; eta is the rate of the largest group.

    Args:
        rule: its name.
        gradient: of the loss by parameter name, in the parameters' shapes.
        state: of the same names, unless the rule needs none.
        parameters: their current values.
        max_grad_norm: clipping, for rules that clip.

    Raises:
        ValueError: unknown rule; gradients and state of different parameters; state without a step.
    """
    chosen = update_rule(rule)
    if chosen.needs_state and set(gradient) != set(state):
        lost = sorted(set(gradient) ^ set(state))
        raise ValueError(f"gradient and optimizer state name different parameters, for instance {lost[0]}")
    return chosen.direction(gradient, state, parameters, max_grad_norm=max_grad_norm)
