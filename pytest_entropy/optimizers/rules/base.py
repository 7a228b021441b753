"""What an update rule is: a direction as mathematics on tensors, and a real torch optimizer's step beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from pytest_entropy.optimizers.state import AdamWState, ParameterState

Tensors = Mapping[str, torch.Tensor]
# What a linear rule's derivative makes of a vector by parameter name, given the optimizer state.
LinearMap = Callable[[Tensors, AdamWState], dict[str, torch.Tensor]]
# (theta_after - theta_before) / lr of one parameter: its gradient, its state (None where there is none), the parameter.
TorchStep = Callable[[torch.Tensor, ParameterState | None, torch.Tensor], torch.Tensor]


class Direction(Protocol):
    """u by parameter name, float64, from gradient, optimizer state and parameters of the same names.

    ``max_grad_norm`` clips the gradient first, in rules that clip.  Written in differentiable operations, so that
    :class:`~pytest_entropy.probe.update.linearisation.Linearisation` has its derivative by the gradient.
    """

    def __call__(
        self, gradient: Tensors, state: AdamWState, parameters: Tensors, *, max_grad_norm: float | None = None
    ) -> dict[str, torch.Tensor]: ...


@dataclass(frozen=True)
class UpdateRule:
    """The step an optimizer takes for a gradient.

    Attributes:
        direction: u = (theta_after - theta_before) / eta, eta the rate of the largest group.
        torch_step: one parameter's step by a real torch optimizer, its oracle; shares no code with ``direction``.
        linear: whether u is linear in the gradient, as mode ``u_statistic`` needs it.
        needs_state: whether it uses the optimizer state (and with it the groups' relative rates).
        clips: whether ``max_grad_norm`` clips the gradient first.
        pushforward, pullback: J y and J^T x, J = du/dg, of a linear rule; None takes automatic differentiation.

    Raises:
        TypeError: no direction or no oracle; a pushforward or pullback of a rule that is not linear.
    """

    direction: Direction
    torch_step: TorchStep
    linear: bool
    needs_state: bool = True
    clips: bool = False
    pushforward: LinearMap | None = None
    pullback: LinearMap | None = None

    def __post_init__(self) -> None:
        if not callable(self.direction):
            raise TypeError("an update rule's direction is a function of gradient, state and parameters")
        if not callable(self.torch_step):
            raise TypeError("an update rule needs a torch_step, which every run holds its direction against")
        if not self.linear and (self.pushforward or self.pullback):
            raise TypeError("only a linear rule has a derivative that is the same at every gradient")
