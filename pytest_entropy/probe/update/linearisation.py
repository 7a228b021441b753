"""Products with the Jacobian J = du/dg of the update direction u by the gradient g (docs/mathematics.md §4).

For the linear rules (``preconditioned``, ``sgd``) J is exact at any g; for ``adamw``, clipping included, products with
J are the delta method.  Tensors go in and come out by live parameter name, float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.optimizers.update_rules import update_direction, update_rule
from pytest_entropy.probe.parameter_vectors import Tensors


@dataclass(frozen=True)
class Linearisation:
    """J = du/dg at ``gradient``.

    Attributes:
        rule: name of the update rule.
        gradient: g, where J is taken.
        state: the optimizer's state before the step.
        parameters: theta before the step.
        max_grad_norm: clipping by the gradient's norm; None for no clipping.
    """

    rule: str
    gradient: Tensors
    state: AdamWState
    parameters: Tensors
    max_grad_norm: float | None = None

    def _direction(self) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        def direction(gradient: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return update_direction(self.rule, gradient, self.state, self.parameters, max_grad_norm=self.max_grad_norm)

        return direction

    def _point(self) -> dict[str, torch.Tensor]:
        return {name: g.detach().double().cpu() for name, g in self.gradient.items()}

    def _given(self, vector: Tensors) -> dict[str, torch.Tensor]:
        return {name: vector[name].detach().double().cpu() for name in self.gradient}

    def pullback(self, covector: Tensors) -> dict[str, torch.Tensor]:
        """J^T x, float64: the gradient of <x, u(g)> by g."""
        closed_form = update_rule(self.rule).pullback
        if closed_form is not None:
            return closed_form(self._given(covector), self.state)
        transpose = torch.func.vjp(self._direction(), self._point())[1]
        pulled: dict[str, torch.Tensor] = transpose(self._given(covector))[0]
        return pulled

    def pushforward(self, vector: Tensors) -> dict[str, torch.Tensor]:
        """J y, float64: the derivative of u when g moves along y."""
        closed_form = update_rule(self.rule).pushforward
        if closed_form is not None:
            return closed_form(self._given(vector), self.state)
        pushed: dict[str, torch.Tensor] = torch.func.jvp(self._direction(), (self._point(),), (self._given(vector),))[1]
        return pushed
