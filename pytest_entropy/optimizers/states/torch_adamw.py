"""The state of torch's Adam and AdamW: ``exp_avg`` and ``exp_avg_sq`` in the parameter's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_entropy.optimizers.states.base import SWITCHES, Moments, OptimizerKind, read_moments


def recognise(entry: Mapping[str, Any], group: Mapping[str, Any]) -> bool:
    """Whether the entry is of this kind, by the key of its first moment.

    Args:
        entry: one value of an optimizer state_dict's ``state``.
        group: the settings of its parameter group, not used.
    """
    return "exp_avg" in entry


def stored_moments(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Moments:
    """The moments as stored, in the parameter's shape.

    Args:
        entry: one value of an optimizer state_dict's ``state``.
        shape: the parameter's shape.

    Raises:
        NotAdamW: keys are missing, a shape or dtype is wrong, or a number is not finite.
    """
    return read_moments(entry, shape, ("exp_avg", "exp_avg_sq"))


OPTIMIZER = OptimizerKind(
    recognise,
    stored_moments,
    frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
    frozenset({"betas", "eps", "weight_decay", "amsgrad", "fused", *SWITCHES}),
    # Since torch 1.11; timm's former RAdam, fairseq's Adam and others have AdamW's keys but these.
    always=frozenset({"amsgrad", "maximize"}),
)
