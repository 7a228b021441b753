"""Make glibc give large blocks back when they are freed, so that a process holds what its tensors hold.

By default glibc keeps freed blocks of up to 32 MiB in its heap, where blocks of other sizes do not fit: a pass through
a model of 0.5 billion parameters then holds up to 1.5 times what its tensors need, by chance more or less.  Pages that
return must be made anew: a pass takes a quarter more time, so that it is for where memory is short.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

from torch import nn

# From this size on a block has pages of its own, which return to the system when it is freed.
OWN_PAGES = 2**20
# Below so many bytes of weights the pages' set-up costs more than it saves: tensors are small, and made often.
LARGE_MODEL = 2**28
_M_MMAP_THRESHOLD = -3


def return_large_blocks(model: nn.Module) -> bool:
    """If a model in this process's memory is large, tell glibc to return freed blocks; whether it was told.

    Args:
        model: the policy's model.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters() if p.device.type == "cpu")
    if weights < LARGE_MODEL or sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, OWN_PAGES))
    return False
