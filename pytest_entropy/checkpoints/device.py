"""Whether the device asked for is there: said before any work, and torch imported only where it has to be asked."""

from __future__ import annotations

from pytest_entropy.errors import UsageError


def require_device(device: str) -> None:
    """Do nothing if ``device`` (cpu, cuda, cuda:N, mps) can be used.

    Raises:
        UsageError: it cannot; says what there is.
    """
    if device == "cpu":
        return
    import torch

    kind, _, index = device.partition(":")
    if kind == "mps":
        there = ["mps"] if torch.backends.mps.is_available() else []
    else:
        there = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if not there or (index and device not in there):
        found = ", ".join(there) or f"no {kind} device"
        raise UsageError(f"--device {device}: torch {torch.__version__} finds {found} here; take --device cpu")
