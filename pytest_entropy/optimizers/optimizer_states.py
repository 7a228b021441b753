"""Optimizer states by what they hold: which registered kind an entry is of, and its moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_entropy import registry
from pytest_entropy.optimizers.states.base import Moments, OptimizerKind

# What no kind recognises is judged as torch's own, whose message says which keys it lacks.
_PLAIN = "torch_adamw"


def known_kinds() -> dict[str, OptimizerKind]:
    """All kinds of optimizer state that are read, by name, installed ones included.

    Raises:
        UsageError: an installed one that cannot be imported, or is none.
    """
    return {name: registry.get("optimizers", name, OptimizerKind) for name in registry.names("optimizers")}


def flat(entry: Mapping[str, Any]) -> dict[str, object]:
    """An entry of ``state`` with what any kind nests in it beside its other keys."""
    found = dict(entry)
    for kind in known_kinds().values():
        found = kind.flat(found)
    return found


def moments_of(entry: Mapping[str, Any], shape: tuple[int, ...], group: Mapping[str, Any] | None = None) -> Moments:
    """The moments of a parameter of this shape.

    Args:
        entry: one value of an optimizer state_dict's ``state``.
        shape: the parameter's.
        group: the settings of its parameter group.

    Raises:
        NotAdamW: keys are missing, a shape or type is wrong, or a number is not finite.
    """
    kinds = known_kinds()
    whole = flat(entry)
    kind = next((one for one in kinds.values() if one.recognise(whole, group or {})), kinds[_PLAIN])
    return kind.read(whole, shape)
