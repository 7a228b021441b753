"""What an optimizer's stored state is to us: the keys it is known by, and AdamW's moments read from it.

torch is imported when tensors are read, not before: a file is judged by its keys first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Settings of every optimizer in torch; RAdam has no others.
SWITCHES = ("maximize", "foreach", "capturable", "differentiable", "decoupled_weight_decay")
# What any optimizer's group may hold beside its own settings: what schedulers keep there, and labels.
GROUP_KEYS = frozenset(
    {"params", "param_names", "lr", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"}
    | {"lr_scale", "name", "group_name"}
)


class NotAdamW(ValueError):
    """The entry is not AdamW's, or contradicts itself."""


@dataclass(frozen=True)
class Moments:
    """First and second moment in the parameter's shape, floating point; whether they were kept in 8 bits."""

    step: int
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    quantised: bool


@dataclass(frozen=True)
class OptimizerKind:
    """One way in which an optimizer stores the state that AdamW's next step needs.

    Attributes:
        recognise: whether an entry of the state_dict's ``state``, with its group's settings, is of this kind; looks at
            keys only, for tensors may not have been read yet.
        read: the moments of a parameter of that shape.
        state_keys, group_keys: the keys that its entries and groups may hold (groups: beside :data:`GROUP_KEYS`).
            Any other key is another optimizer's, or a setting that changes the step.
        nested: the key of an entry under which further keys of it lie, if there is one.
    """

    recognise: Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any], tuple[int, ...]], Moments]
    state_keys: frozenset[str]
    group_keys: frozenset[str] = frozenset()
    nested: str | None = None

    def flat(self, entry: Mapping[str, Any]) -> dict[str, object]:
        """The entry with what is nested in it beside its other keys."""
        inner = entry.get(self.nested) if self.nested is not None else None
        return {**entry, **inner} if isinstance(inner, Mapping) else dict(entry)


def read_moments(
    entry: Mapping[str, Any], shape: tuple[int, ...], keys: tuple[str, str], decode: Decode | None = None
) -> Moments:
    """The two moments under these keys, and the number of steps, each checked.

    Args:
        entry: one value of an optimizer state_dict's ``state``, flat.
        shape: the parameter's.
        keys: of the first and the second moment.
        decode: what makes numbers of 8-bit codes, given them and "1" or "2"; None where there are none.

    Raises:
        NotAdamW: keys are missing, a shape or type is wrong, or a number is not finite.
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
    """The value if it is an ordinary dense tensor in memory, else None."""
    import torch

    ordinary = type(value) is torch.Tensor and value.layout == torch.strided and value.device.type == "cpu"
    return value if ordinary else None


def _moment(
    entry: Mapping[str, Any], key: str, number: str, shape: tuple[int, ...], decode: Decode | None
) -> tuple[torch.Tensor, bool]:
    value = plain_tensor(entry[key])
    if value is None:
        raise NotAdamW(f"has a {type(entry[key]).__name__} as {key}, not a plain tensor")
    # Before anything is computed: a view of one number may claim any size.
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
    # A copy in memory: the file may be rewritten while we run.
    return (value if quantised else value.clone()), quantised


def _count(step: Any) -> int:
    tensor = plain_tensor(step)
    number = tensor.item() if tensor is not None and tensor.numel() == 1 else step
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number < 2**53:
        raise NotAdamW(f"has taken {str(number)[:40]} steps: there are no moments to precondition with")
    return int(number)
