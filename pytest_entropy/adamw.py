"""AdamW's state by parameter name: what checkpoints give and update rules take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ParameterState:
    """What AdamW keeps of one parameter, with its group's settings.

    ``exp_avg`` and ``exp_avg_sq`` have the parameter's shape; ``step`` counts the steps taken so far; ``lr`` is
    the group's learning rate as stored (that of the next step).
    """

    step: int
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float


AdamWState = Mapping[str, ParameterState]
