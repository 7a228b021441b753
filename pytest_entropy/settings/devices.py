"""The names of supported devices, checked without importing torch or initialising CUDA."""

from __future__ import annotations

import re


def unusable(device: str) -> str | None:
    """Why a device of this name is not supported, as text; None for cpu, cuda and cuda:N."""
    if re.fullmatch(r"cpu|cuda(:\d+)?", device):
        return None
    names = "a device is cpu, cuda or cuda:N"
    if device.partition(":")[0] != "mps":
        return names
    return f"{names}; mps has no float64, in which tokens are drawn and derivatives summed"
