"""The most memory this process has held: on its GPU as torch counts it, else resident as the system counts it."""

from __future__ import annotations

import torch

from pytest_entropy.records import process_memory

# MiB by place; what the system's own count forgets when it is started anew.
_highest: dict[str, float] = {}


def peak_memory_mb(device: torch.device | None = None) -> float:
    """Most memory this process has held so far, in MiB: on ``device`` where that is a GPU, else resident."""
    held = counted_mb(device)
    return max(held, _highest.get(_place(device), held))


def counted_mb(device: torch.device | None) -> float:
    """Most memory held since :func:`start_counting`, in MiB."""
    if is_gpu(device):
        return torch.cuda.max_memory_allocated(device) / 2**20
    return process_memory.highest_mb()


def start_counting(device: torch.device | None) -> None:
    """Start the count at what is held now; :func:`peak_memory_mb` remembers the one before."""
    _highest[_place(device)] = peak_memory_mb(device)
    if is_gpu(device):
        torch.cuda.reset_peak_memory_stats(device)
        return
    process_memory.count_anew()


def _place(device: torch.device | None) -> str:
    """Whose memory is counted."""
    return str(device) if is_gpu(device) else "process"


def is_gpu(device: torch.device | None) -> bool:
    """Whether the work runs on a GPU, whose memory torch counts."""
    return device is not None and device.type == "cuda"
