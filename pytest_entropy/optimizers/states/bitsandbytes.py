"""The state of bitsandbytes' Adam and AdamW: ``state1`` and ``state2``, in 32 bits or in blocks of 8-bit codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_entropy.optimizers.states.base import Moments, NotAdamW, OptimizerKind, plain_tensor, read_moments

if TYPE_CHECKING:
    import torch

# Elements per absolute maximum: 256 today, 2048 before 0.45.
_BLOCKS = (256, 2048)
# Since 0.49.2 the state is nested under this key, so that torch does not cast it; before, it was flat.
NESTED = "__bnb_optimizer_quant_state__"


def recognise(entry: Mapping[str, Any], group: Mapping[str, Any]) -> bool:
    """Whether the entry is of this kind, by the key of its first moment.

    Args:
        entry: one value of an optimizer state_dict's ``state``.
        group: the settings of its parameter group, not used.
    """
    return "state1" in entry


def stored_moments(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Moments:
    """The moments in the parameter's shape, dequantised if they are stored in 8 bits.

    Args:
        entry: one value of an optimizer state_dict's ``state``, with nested keys lifted.
        shape: the parameter's shape.

    Raises:
        NotAdamW: keys are missing, a shape or dtype is wrong, a number is not finite, or 8-bit codes come without a
            codebook and the maxima of their blocks.
    """

    def decode(codes: torch.Tensor, number: str) -> torch.Tensor:
        codebook, absmax = (plain_tensor(entry.get(name + number)) for name in ("qmap", "absmax"))
        if codebook is None or absmax is None:
            raise NotAdamW(
                f"has state{number} in 8 bits without qmap{number} and absmax{number}: not bitsandbytes' blocks"
            )
        return dequantise(codes, codebook, absmax)

    return read_moments(entry, shape, ("state1", "state2"), decode)


def dequantise(codes: torch.Tensor, codebook: torch.Tensor, absmax: torch.Tensor) -> torch.Tensor:
    """Invert block-wise dynamic quantisation: value = codebook[code] * absmax[index // block], float32.

    Args:
        codes: uint8, any shape; blocks are consecutive in the flattened tensor.
        codebook: ``[256]`` float32.
        absmax: ``[blocks]``, the absolute maximum of each block.

    Raises:
        NotAdamW: the number of blocks fits no known block size, or the codebook does not hold 256 numbers.

    Source: Dettmers et al., arXiv 2110.02861, section 2.
    """
    count = codes.numel()
    block = next((b for b in _BLOCKS if absmax.numel() == -(-count // b)), None)
    if block is None or codebook.numel() != 256 or absmax.dim() != 1:
        raise NotAdamW(
            f"has {absmax.numel()} block maxima and {codebook.numel()} codes for {count} elements: not bitsandbytes' "
            "block-wise state (8-bit state without blocks is not supported)"
        )
    values = codebook.flatten().float()[codes.flatten().long()]
    return (values * absmax.float().repeat_interleave(block)[:count]).reshape(codes.shape)


OPTIMIZER = OptimizerKind(
    recognise,
    stored_moments,
    frozenset({"step", NESTED} | {f"{n}{i}" for n in ("state", "qmap", "absmax", "max", "new_max") for i in (1, 2)}),
    # AdEMAMix's settings, which its AdamW has as 0 and None.
    frozenset({"betas", "eps", "weight_decay", "alpha", "t_alpha", "t_beta3"}),
    nested=NESTED,
)
