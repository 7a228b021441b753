"""AdamW's state by parameter name: what checkpoints give and update rules take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ParameterState:
    """What AdamW keeps of one parameter, with its group's settings.

    ``exp_avg`` and ``exp_avg_sq`` have the parameter's shape; ``step`` counts the steps taken so far; ``lr`` is
    the group's learning rate (the next step's, or the initial one where the schedule has ended), ``group`` the
    group's number.  ``quantised`` says that the moments were kept in 8 bits and carry that rounding.
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
        """The step just taken, at learning rate 1: -(m-hat / (sqrt(v-hat) + eps) + weight_decay * before), float64.

        Loshchilov and Hutter, arXiv 1711.05101, algorithm 2; ``before`` is the parameter before that step.
        """
        m = self.exp_avg.double() / (1 - self.betas[0] ** self.step)
        v = self.exp_avg_sq.double() / (1 - self.betas[1] ** self.step)
        return -(m / (v.sqrt() + self.eps) + self.weight_decay * before.double())


AdamWState = Mapping[str, ParameterState]
