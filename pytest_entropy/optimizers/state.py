"""AdamW's state by parameter name, as checkpoints are read and update rules take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ParameterState:
    """AdamW's state of one parameter, with the settings of its parameter group.

    Attributes:
        step: the number of steps taken so far.
        exp_avg, exp_avg_sq: first and second moment, in the parameter's shape, without bias correction.
        lr: the group's learning rate: the next step's, or the initial one if the schedule has ended.
        betas, eps, weight_decay: the group's settings.
        group: the index of the parameter group.
        quantised: whether the moments were stored in 8 bits, and so carry that rounding error.
    """

    step: int
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    group: int = 0
    quantised: bool = False

    def last_step(self, before: torch.Tensor) -> torch.Tensor:
        """The last step taken, at learning rate 1: -(m-hat / (sqrt(v-hat) + eps) + weight_decay * before), float64.

        ``before`` is the parameter before that step.  Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2.
        """
        m = self.exp_avg.double() / (1 - self.betas[0] ** self.step)
        v = self.exp_avg_sq.double() / (1 - self.betas[1] ** self.step)
        return -(m / (v.sqrt() + self.eps) + self.weight_decay * before.double())


AdamWState = Mapping[str, ParameterState]
