"""Which devices there may be, by name; nothing here imports torch or starts CUDA."""

from __future__ import annotations

import re


def unusable(device: str) -> str | None:
    """Why nothing can be computed on a device of this name, wherever it is; None for cpu, cuda and cuda:N."""
    if re.fullmatch(r"cpu|cuda(:\d+)?", device):
        return None
    names = "a device is cpu, cuda or cuda:N"
    if device.partition(":")[0] != "mps":
        return names
    return f"{names}; mps has no float64, in which tokens are drawn and derivatives summed"
