"""Count the bytes that a run's tensors hold at once, exactly: on a CPU tensor by tensor, on a GPU by torch's allocator.

Resident memory is no such count: it holds what the C library has freed and kept, what other threads hold, and pages of
libraries.  On a CPU the buffers within one operation are not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pytest_entropy.probe.peak_memory import is_gpu
from pytest_entropy.records.run import RunRecord

ON_CPU = "bytes of live tensors, counted tensor by tensor"
ON_GPU = "bytes allocated on the GPU"
MIB = 2**20


class LiveBytes(TorchDispatchMode):
    """Counts the tensors that operations of this thread make within the block.

    A storage counts from the operation that made it until nothing refers to it; those made before count 0.

    Attributes:
        now, peak: bytes held now, and the most held at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._held: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in (out,) if isinstance(out, torch.Tensor) else tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor, args)
        return out

    def _count(self, tensor: torch.Tensor, args: Sequence[Any]) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._held or not size:
            return
        # A view of a tensor from before the block, such as a transposed weight, adds nothing.
        made = all(one.untyped_storage() is not storage for one in tree_leaves(args) if isinstance(one, torch.Tensor))
        size = size if made else 0
        self.now += size
        self.peak = max(self.peak, self.now)
        self._held[key] = weakref.ref(storage, lambda _: self._gone(key, size))

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        self._held.pop(key, None)


def counting(device: torch.device) -> str:
    """How memory on a device is counted, in words."""
    return ON_GPU if is_gpu(device) else ON_CPU


def counted_run(run: Callable[[], RunRecord], device: torch.device) -> tuple[RunRecord, float]:
    """A run's record, and the most that its tensors held at once beyond what was held before, in MiB.

    Args:
        run: computes a run in this thread.
        device: the device of the policy.
    """
    if is_gpu(device):
        before = torch.cuda.memory_allocated(device) / MIB
        record = run()
        # Each phase starts torch's count anew.
        return record, max(record.memory_mb.values()) - before
    with LiveBytes() as live:
        record = run()
    return record, live.peak / MIB
