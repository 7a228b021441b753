"""The kind of a stored optimizer state: the keys it is recognised by, and how AdamW's moments are read from it.

torch is imported only when tensors are read, because a file is first judged by its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Group settings that every torch optimizer has; RAdam has no others.
SWITCHES = ("maximize", "foreach", "capturable", "differentiable", "decoupled_weight_decay")
# Keys that any optimizer's group may hold beside its own settings: those of schedulers, and labels.
GROUP_KEYS = frozenset(
    {"params", "param_names", "lr", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"}
    | {"lr_scale", "name", "group_name"}
)


class NotAdamW(ValueError):
    """An optimizer state entry is not AdamW's, or is damaged."""


@dataclass(frozen=True)
class Moments:
    """AdamW's moments of one parameter.

    Attributes:
        step: the number of steps taken.
        exp_avg, exp_avg_sq: first and second moment in the parameter's shape, floating point.
        quantised: whether the moments were stored in 8 bits.
    """

    step: int
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    quantised: bool


@dataclass(frozen=True)
class OptimizerKind:
    """One format in which an optimizer stores the state that AdamW's next step needs.

    Attributes:
        recognise: whether an entry of the state_dict's ``state``, with its group's settings, is of this kind; it looks
            at keys only, because tensors may not have been read yet.
        read: reads the moments from an entry, given the parameter's shape.
        state_keys, group_keys: the keys that entries and groups of this kind may hold, groups in addition to
            :data:`GROUP_KEYS`.  Any other key belongs to another optimizer, or is a setting that changes the step.
        always: group keys that this kind never lacks; without one of them another optimizer wrote the state.
        nested: the key of an entry whose value is a mapping with further keys of the entry; None if there is none.
    """

    recognise: Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any], tuple[int, ...]], Moments]
    state_keys: frozenset[str]
    group_keys: frozenset[str] = frozenset()
    nested: str | None = None
    always: frozenset[str] = frozenset()

    def flat(self, entry: Mapping[str, Any]) -> dict[str, object]:
        """The entry with its nested keys lifted to the top level."""
        inner = entry.get(self.nested) if self.nested is not None else None
        return {**entry, **inner} if isinstance(inner, Mapping) else dict(entry)


def read_moments(
    entry: Mapping[str, Any], shape: tuple[int, ...], keys: tuple[str, str], decode: Decode | None = None
) -> Moments:
    """Read and check the two moments and the step count of one parameter.

    Args:
        entry: one value of an optimizer state_dict's ``state``, with nested keys lifted.
        shape: the parameter's shape.
        keys: the keys of the first and of the second moment.
        decode: dequantises 8-bit codes, given the codes and "1" for the first or "2" for the second moment; None for a
            kind without 8-bit states.

    Raises:
        NotAdamW: keys are missing, a shape or dtype is wrong, the second moment is negative somewhere, a number is not
            finite, or no step has been taken.
    """
    missing = [key for key in ("step", *keys) if key not in entry]
    if missing:
        raise NotAdamW(f"lacks {', '.join(missing)}: not AdamW's or Adam's")
    first, quantised = _moment(entry, keys[0], "1", shape, decode)
    second, _ = _moment(entry, keys[1], "2", shape, decode)
    if bool((second < 0).any()):
        raise NotAdamW(f"has a negative {keys[1]} somewhere: a damaged file")
    return Moments(_count(entry["step"]), first, second, quantised)


if TYPE_CHECKING:
    Decode = Callable[[torch.Tensor, str], torch.Tensor]


def plain_tensor(value: Any) -> torch.Tensor | None:
    """Return the value if it is an ordinary dense tensor in main memory, else None."""
    import torch

    ordinary = type(value) is torch.Tensor and value.layout == torch.strided and value.device.type == "cpu"
    return value if ordinary else None


def _moment(
    entry: Mapping[str, Any], key: str, number: str, shape: tuple[int, ...], decode: Decode | None
) -> tuple[torch.Tensor, bool]:
    value = plain_tensor(entry[key])
    if value is None:
        raise NotAdamW(f"has a {type(entry[key]).__name__} as {key}, not a plain tensor")
    # Checked before any computation, because a strided view of one number may claim any size.
    if tuple(value.shape) != shape:
        raise NotAdamW(
            f"has {key} of shape {tuple(value.shape)}, the parameter {shape}: the numbering does not fit this model"
        )
    dtype = str(value.dtype).removeprefix("torch.")
    quantised = decode is not None and dtype == "uint8"
    if decode is not None and quantised:
        value = decode(value, number)
    if not value.is_floating_point():
        raise NotAdamW(f"has {key} of type {dtype}, expected floating point")
    if not bool(value.isfinite().all()):
        raise NotAdamW(f"has a {key} that is not finite: the run had diverged when this was saved")
    # Copied into memory, because the file may be rewritten while the probe runs.
    return (value if quantised else value.clone()), quantised


def _count(step: Any) -> int:
    tensor = plain_tensor(step)
    number = tensor.item() if tensor is not None and tensor.numel() == 1 else step
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number < 2**53:
        raise NotAdamW(f"has taken {str(number)[:40]} steps: there are no moments to precondition with")
    return int(number)
