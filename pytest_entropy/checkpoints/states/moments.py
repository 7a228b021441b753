"""One parameter's AdamW moments as optimizers write them: torch's own, and bitsandbytes' 32 and 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pytest_entropy.checkpoints.formats.torch_file import plain_tensor
from pytest_entropy.checkpoints.states.optimizer_kind import NESTED

# Elements per absolute maximum: 256 today, 2048 before 0.45.
_BLOCKS = (256, 2048)


class NotAdamW(ValueError):
    """The entry is not AdamW's, or contradicts itself."""


@dataclass(frozen=True)
class Moments:
    """First and second moment in the parameter's shape, floating point; whether they were kept in 8 bits."""

    step: int
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    quantised: bool


def read_moments(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Moments:
    """The moments of a parameter of this shape.

    Args:
        entry: one value of an optimizer state_dict's ``state``.
        shape: the parameter's.

    Raises:
        NotAdamW: keys are missing, a shape or type is wrong, or a number is not finite.
    """
    nested = entry.get(NESTED)
    flat = {**entry, **nested} if isinstance(nested, Mapping) else entry
    names = ("state1", "state2") if "state1" in flat else ("exp_avg", "exp_avg_sq")
    missing = [key for key in ("step", *names) if key not in flat]
    if missing:
        raise NotAdamW(f"lacks {', '.join(missing)}: not AdamW's or Adam's")
    first, quantised = _moment(flat, names[0], "1", shape)
    second, _ = _moment(flat, names[1], "2", shape)
    if bool((second < 0).any()):
        raise NotAdamW(f"has a negative {names[1]} somewhere: a damaged file")
    return Moments(_count(flat["step"]), first, second, quantised)


def dequantise(codes: torch.Tensor, codebook: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """Block-wise dynamic quantisation undone: value = codebook[code] * largest[index // block].

    Args:
        codes: uint8, any shape; blocks run over it flattened.
        codebook: ``[256]`` float32.
        largest: ``[blocks]``, each block's absolute maximum.

    Raises:
        NotAdamW: the number of blocks fits no known block size, or a codebook is not of 256 numbers.

    Source: Dettmers et al., arXiv 2110.02861, section 2.
    """
    count = codes.numel()
    block = next((b for b in _BLOCKS if largest.numel() == -(-count // b)), None)
    if block is None or codebook.numel() != 256 or largest.dim() != 1:
        raise NotAdamW(
            f"has {largest.numel()} block maxima and {codebook.numel()} codes for {count} elements: not bitsandbytes' "
            "block-wise state (8-bit state without blocks is not supported)"
        )
    values = codebook.flatten().float()[codes.flatten().long()]
    return (values * largest.float().repeat_interleave(block)[:count]).reshape(codes.shape)


def _moment(flat: Mapping[str, Any], key: str, number: str, shape: tuple[int, ...]) -> tuple[torch.Tensor, bool]:
    value = plain_tensor(flat[key])
    if value is None:
        raise NotAdamW(f"has a {type(flat[key]).__name__} as {key}, not a plain tensor")
    # Before anything is computed: a view of one number may claim any size.
    if tuple(value.shape) != shape:
        raise NotAdamW(
            f"has {key} of shape {tuple(value.shape)}, the parameter {shape}: the numbering does not fit this model"
        )
    quantised = value.dtype == torch.uint8
    if quantised:
        parts = [plain_tensor(flat.get(name + number)) for name in ("qmap", "absmax")]
        if parts[0] is None or parts[1] is None:
            raise NotAdamW(f"has {key} in 8 bits without qmap{number} and absmax{number}: not bitsandbytes' blocks")
        value = dequantise(value, parts[0], parts[1])
    if not value.is_floating_point():
        raise NotAdamW(f"has {key} of type {str(value.dtype).removeprefix('torch.')}, expected floating point")
    if not bool(torch.isfinite(value).all()):
        raise NotAdamW(f"has a {key} that is not finite: the run had diverged when this was saved")
    # A copy in memory: the file may be rewritten while we run.
    return (value if quantised else value.clone()), quantised


def _count(step: Any) -> int:
    tensor = plain_tensor(step)
    number = tensor.item() if tensor is not None and tensor.numel() == 1 else step
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number < 2**53:
        raise NotAdamW(f"has taken {str(number)[:40]} steps: there are no moments to precondition with")
    return int(number)
