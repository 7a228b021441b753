"""The update rule: its direction as mathematics on tensors, and a torch optimizer's step as the direction's oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from pytest_entropy.optimizers.state import AdamWState, ParameterState

Tensors = Mapping[str, torch.Tensor]
# (vector by parameter name, optimizer state) -> the derivative of a linear rule, or its transpose, times the vector.
LinearMap = Callable[[Tensors, AdamWState], dict[str, torch.Tensor]]
# (gradient, state or None, parameter) of one parameter -> (theta_after - theta_before) / lr.
TorchStep = Callable[[torch.Tensor, ParameterState | None, torch.Tensor], torch.Tensor]


class Direction(Protocol):
    """The update direction u by parameter name, float64.

    It is written in differentiable operations, so that
    :class:`~pytest_entropy.probe.update.linearisation.Linearisation` can differentiate it with respect to the gradient.

    Args:
        gradient: of the loss, by parameter name, in the parameters' shapes.
        state: the optimizer state of the same parameters.
        parameters: the current parameter values, by name.
        max_grad_norm: the largest gradient norm, for rules that clip; None for no clipping.
    """

    def __call__(
        self, gradient: Tensors, state: AdamWState, parameters: Tensors, *, max_grad_norm: float | None = None
    ) -> dict[str, torch.Tensor]: ...


@dataclass(frozen=True)
class UpdateRule:
    """The step an optimizer takes for a gradient.

    Attributes:
        direction: computes u = (theta_after - theta_before) / eta, with eta the largest rate of all parameter groups.
        torch_step: the oracle: one parameter's step by a torch optimizer; shares no code with ``direction``.
        linear: whether u is linear in the gradient, which mode ``u_statistic`` requires.
        needs_state: whether the rule uses the optimizer state, and with it the groups' relative rates.
        clips: whether the rule clips the gradient to ``max_grad_norm`` first.
        elementwise: whether ``torch_step`` steps each element by itself, whatever the tensor's other elements are, so
            that some elements of a large tensor can be compared; other rules are compared on whole tensors.
        pushforward, pullback: J y and J^T x, with J = du/dg, of a linear rule; None for automatic differentiation.

    Raises:
        TypeError: ``direction`` or ``torch_step`` is not callable, or a rule that is not linear has a pushforward or
            a pullback.
    """

    direction: Direction
    torch_step: TorchStep
    linear: bool
    needs_state: bool = True
    clips: bool = False
    elementwise: bool = False
    pushforward: LinearMap | None = None
    pullback: LinearMap | None = None

    def __post_init__(self) -> None:
        if not callable(self.direction):
            raise TypeError("an update rule's direction must be a function of gradient, state and parameters")
        if not callable(self.torch_step):
            raise TypeError("an update rule needs a torch_step, with which every run compares its direction")
        if not self.linear and (self.pushforward or self.pullback):
            raise TypeError("only a linear rule may have a pushforward or pullback: the same J at every gradient")
