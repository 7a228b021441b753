"""Check before any work that the requested device exists; torch is imported for cuda devices only."""

from __future__ import annotations

from pytest_entropy.errors import UsageError
from pytest_entropy.settings.devices import unusable


def require_device(device: str) -> None:
    """Reject a ``device`` (cpu, cuda, cuda:N, auto) that this machine does not have.

    Raises:
        UsageError: the device cannot be used; names those that can.
    """
    if reason := unusable(device):
        raise UsageError(f"--device {device}: {reason}")
    if device == "cpu":
        return
    import torch

    available = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if not available or (device not in ("cuda", "auto") and device not in available):
        names = ", ".join(available) or "no cuda device"
        raise UsageError(f"--device {device}: torch {torch.__version__} finds {names} here; take --device cpu")
