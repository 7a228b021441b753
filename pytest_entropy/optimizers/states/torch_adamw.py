"""The state of torch's Adam and AdamW: ``exp_avg`` and ``exp_avg_sq`` in the parameter's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_entropy.optimizers.states.base import SWITCHES, Moments, OptimizerKind, read_moments


def recognise(entry: Mapping[str, Any], group: Mapping[str, Any]) -> bool:
    """By the name of the first moment."""
    return "exp_avg" in entry


def stored_moments(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Moments:
    """The moments as they are stored.

    Raises:
        NotAdamW: keys are missing, a shape or type is wrong, or a number is not finite.
    """
    return read_moments(entry, shape, ("exp_avg", "exp_avg_sq"))


OPTIMIZER = OptimizerKind(
    recognise,
    stored_moments,
    frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
    frozenset({"betas", "eps", "weight_decay", "amsgrad", "fused", *SWITCHES}),
)
