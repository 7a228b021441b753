"""An update direction with its tensors, and a fingerprint that identifies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.records.update import UpdateRecord


def fingerprint(direction: Mapping[str, torch.Tensor]) -> float:
    """A number that identifies a direction: it changes with the sign, scale or order of its entries or tensors."""
    total = 0.0
    for position, name in enumerate(sorted(direction), start=1):
        entries = direction[name].detach().double().cpu().ravel()
        total += position * float(entries @ torch.linspace(1, 2, len(entries), dtype=torch.float64))
    return total


@dataclass(frozen=True, kw_only=True)
class Update(UpdateRecord):
    """The update direction u = (theta_after - theta_before) / eta (docs/mathematics.md §2), and its record.

    Attributes:
        direction, gradient: by live parameter name, in the parameters' shapes and at least float32; ``gradient`` is
            empty where the update was read from disk.
        control_variate: tables learnt from the batch's responses; None if the estimator uses none.
        rollouts: the batch's responses; None where they have to be drawn again.
    """

    direction: dict[str, torch.Tensor]
    gradient: dict[str, torch.Tensor]
    control_variate: ControlVariateTables | None = None
    rollouts: Rollouts | None = None
    eta: float
    seed: int
    gradient_norm: float
    direction_norm: float
    rewards_rechecked: bool = False

    def record(self) -> UpdateRecord:
        """The update's record, which holds everything but the tensors."""
        return UpdateRecord(**{f.name: getattr(self, f.name) for f in fields(UpdateRecord)})
