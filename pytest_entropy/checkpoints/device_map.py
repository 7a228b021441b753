"""Put a model across several devices, layer by layer, with accelerate: what is larger than one GPU, slow but right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pytest_entropy.errors import UsageError

# Where accelerate puts what no GPU has room for; from there it brings weights back for each layer's forward alone.
OFFLOADED = {"disk", "meta", "cpu"}


def automatic_map(model: torch.nn.Module) -> dict[str, str | int]:
    """The device of each block of a model, as accelerate plans it for the free memory of all GPUs.

    Args:
        model: on the CPU.

    Raises:
        UsageError: the GPUs have no room for all of it.
    """
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = sorted(getattr(model, "_no_split_modules", None) or [])
    room = get_balanced_memory(model, no_split_module_classes=whole)
    planned: dict[str, str | int] = dict(infer_auto_device_map(model, room, no_split_module_classes=whole))
    require_on_devices(planned)
    return planned


def require_on_devices(planned: Mapping[str, str | int]) -> None:
    """Reject a plan that offloads a part of the model.

    Args:
        planned: device by block.

    Raises:
        UsageError: a part would be kept on the disk or in the host's memory.
    """
    outside = sorted(name for name, device in planned.items() if str(device) in OFFLOADED)
    if outside:
        raise UsageError(
            f"--device auto: the GPUs have no room for {len(outside)} parts of the model (first: {outside[0]}), which "
            "accelerate would keep outside; their derivatives cannot be taken there. Use more GPUs, --dtype bfloat16 "
            "for an adapter's base, or --device cpu"
        )


def lay_across(model: Any, planned: Mapping[str, str | int]) -> None:
    """Move each block to its device and let inputs follow; outputs come back to where the model's inputs are.

    Parameters become other objects of the same names.

    Args:
        model: on the CPU.
        planned: device by block; every parameter and buffer belongs to one.
    """
    from accelerate.hooks import attach_align_device_hook_on_blocks
    from accelerate.utils import find_tied_parameters, retie_parameters

    tied = find_tied_parameters(model)
    attach_align_device_hook_on_blocks(
        model,
        execution_device=dict(planned),
        offload=dict.fromkeys(planned, False),
        skip_keys=getattr(model, "_skip_keys_device_placement", None),
    )
    retie_parameters(model, tied)
    model.hf_device_map = dict(planned)
