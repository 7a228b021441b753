"""Count the bytes of tensors without data (device ``meta``) that work holds at once: its exact peak, at no cost.

Autograd's own references count, too, since a tensor's memory lives as long as its storage does.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
# torch's number of the fused attention kernels, which keep no [tokens, tokens] table; meta tensors would take the plain
# formula, which does.
FUSED = 1
# Results are numbers per prompt or token; a larger copy to the CPU would take the memory that is to be forecast.
LARGEST_COPY = 2**24


class LiveBytes(TorchDispatchMode):
    """While it is on, the bytes that meta tensors made within it hold, now and at most.

    What only data could tell (a number, a copy to the CPU) is answered with zeros.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def exclude(self, model: torch.nn.Module) -> None:
        """Do not count a model's weights and buffers.

        Args:
            model: a model on the device ``meta``.
        """
        for tensor in (*model.parameters(), *model.buffers()):
            self._known.add(tensor.untyped_storage()._cdata)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name == "aten::_fused_sdp_choice":
            return FUSED
        if args and isinstance(args[0], torch.Tensor):
            told = self._told(name, args, kwargs)
            if told is not None:
                return told
        out = func(*args, **kwargs)
        self._count(out)
        return out

    def _told(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Zeros for what has no answer without data; None for other operations."""
        first = args[0]
        if first.is_meta and name == "aten::_local_scalar_dense":
            return 0 if not first.is_floating_point() else 0.0
        if first.is_meta and name == "aten::equal":
            return True
        target = kwargs.get("device")
        if first.is_meta and name == "aten::_to_copy" and target is not None and torch.device(target).type == "cpu":
            if first.numel() > LARGEST_COPY:
                raise MemoryError(f"a copy of {first.numel()} entries to the CPU")
            return torch.zeros(first.shape, dtype=kwargs.get("dtype") or first.dtype)
        if name == "aten::copy_" and not first.is_meta and args[1].is_meta:
            return first
        return None

    def _count(self, out: Any) -> None:
        for tensor in out if isinstance(out, list | tuple) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._known:
                    size = storage.nbytes()
                    self._known.add(key)
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._freed, key, size).atexit = False

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
