"""Whether the device asked for is there: said before any work, and torch imported only where it has to be asked."""

from __future__ import annotations

from pytest_entropy.errors import UsageError
from pytest_entropy.settings.devices import unusable


def require_device(device: str) -> None:
    """Do nothing if ``device`` (cpu, cuda, cuda:N) can be used.

    Raises:
        UsageError: it cannot; says what there is.
    """
    if reason := unusable(device):
        raise UsageError(f"--device {device}: {reason}")
    if device == "cpu":
        return
    import torch

    there = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if not there or (device != "cuda" and device not in there):
        found = ", ".join(there) or "no cuda device"
        raise UsageError(f"--device {device}: torch {torch.__version__} finds {found} here; take --device cpu")
