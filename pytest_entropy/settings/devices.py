"""The names of supported devices, checked without importing torch or initialising CUDA."""

from __future__ import annotations

import re


def unusable(device: str) -> str | None:
    """Why a device of this name is not supported, as text; None for cpu, cuda, cuda:N and auto (all GPUs)."""
    if re.fullmatch(r"cpu|auto|cuda(:\d+)?", device):
        return None
    names = "a device is cpu, cuda, cuda:N, or auto (a model across all GPUs)"
    if device.partition(":")[0] != "mps":
        return names
    return f"{names}; mps has no float64, in which tokens are drawn and derivatives summed"
