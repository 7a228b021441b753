"""Reading stored optimizer states: recognise the registered kind of an entry, and read AdamW's moments from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_entropy import registry
from pytest_entropy.optimizers.states.base import Moments, OptimizerKind

# An entry that no kind recognises is read as torch's AdamW, whose error message lists the missing keys.
_PLAIN = "torch_adamw"


def known_kinds() -> dict[str, OptimizerKind]:
    """All registered kinds of optimizer state by name, those of other packages included.

    Raises:
        UsageError: another package's kind cannot be imported, or is not an :class:`OptimizerKind`.
    """
    return {name: registry.get("optimizers", name, OptimizerKind) for name in registry.names("optimizers")}


def flat(entry: Mapping[str, Any]) -> dict[str, object]:
    """An entry of an optimizer state_dict's ``state`` with its nested keys lifted to the top level."""
    flattened = dict(entry)
    for kind in known_kinds().values():
        flattened = kind.flat(flattened)
    return flattened


def moments_of(entry: Mapping[str, Any], shape: tuple[int, ...], group: Mapping[str, Any] | None = None) -> Moments:
    """AdamW's moments of one parameter, in the parameter's shape, and its step count.

    Args:
        entry: one value of an optimizer state_dict's ``state``.
        shape: the parameter's shape.
        group: the settings of its parameter group.

    Raises:
        NotAdamW: keys are missing, a shape or dtype is wrong, or a number is not finite.
    """
    kinds = known_kinds()
    flattened = flat(entry)
    kind = next((one for one in kinds.values() if one.recognise(flattened, group or {})), kinds[_PLAIN])
    return kind.read(flattened, shape)


def moments_shape(entry: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The shape of a parameter's moments as an entry of the state stores them; None where it does not say.

    Args:
        entry: one value of an optimizer state_dict's ``state``.
    """
    flattened = flat(entry)
    moment = flattened.get("exp_avg", flattened.get("state1"))
    shape = getattr(moment, "shape", None)
    return None if shape is None else tuple(shape)
