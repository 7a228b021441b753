"""The derivative of the update direction by the gradient it is taken from, applied to vectors.

For a linear rule (``preconditioned``, ``sgd``) this is exact at any g; for another (``adamw``) it is the delta method,
clipping included.  Tensors go in and come out by live parameter name, float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.optimizers.update_rules import update_direction, update_rule

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Linearisation:
    """J = du/dg at ``gradient``."""

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
        """J^T x: the gradient by g of <x, u(g)>, float64."""
        own = update_rule(self.rule).pullback
        if own is not None:
            return own(self._given(covector), self.state)
        transpose = torch.func.vjp(self._direction(), self._point())[1]
        pulled: dict[str, torch.Tensor] = transpose(self._given(covector))[0]
        return pulled

    def pushforward(self, vector: Tensors) -> dict[str, torch.Tensor]:
        """J y: how u moves when g moves along y, float64."""
        own = update_rule(self.rule).pushforward
        if own is not None:
            return own(self._given(vector), self.state)
        pushed: dict[str, torch.Tensor] = torch.func.jvp(self._direction(), (self._point(),), (self._given(vector),))[1]
        return pushed


def inner(left: Tensors, right: Tensors) -> float:
    """<left, right> over all parameters, summed in float64."""
    return sum(float((left[name].double().cpu() * right[name].double().cpu()).sum()) for name in left)
