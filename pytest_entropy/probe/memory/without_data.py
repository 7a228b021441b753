"""Work on tensors without data (device ``meta``): its memory is counted exactly, and costs nothing.

What only data could tell is answered with zeros.  Attention takes the CPU's fused kernel, which as a GPU's keeps no
table of all pairs of tokens; left to itself torch would take the plain formula for these tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from pytest_entropy.probe.memory.live_bytes import LiveBytes

META = torch.device("meta")
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
# torch's function, for which another stands in within a block: a mode for functions would be off in backward, where
# layers may be computed again.
TORCHS = functional.scaled_dot_product_attention
_ONE_BLOCK = threading.RLock()
# Results are numbers per prompt or token; a larger copy to the CPU would take the memory that is to be forecast.
LARGEST_COPY = 2**24


def _attention(query: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """torch's attention, but by the fused kernel where tensors have no data; so other threads may go on meanwhile."""
    out: torch.Tensor = (_fused if query.is_meta else TORCHS)(query, *args, **kwargs)
    return out


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> torch.Tensor:
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # torch makes a table of numbers of it, which backward keeps.
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(attn_mask.logical_not(), -torch.inf)
    out: torch.Tensor = FUSED(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return out


class WithoutData(LiveBytes):
    """Counts the tensors without data that operations of this thread make within the block."""

    def __enter__(self) -> WithoutData:
        _ONE_BLOCK.acquire()
        functional.scaled_dot_product_attention = _attention
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        functional.scaled_dot_product_attention = TORCHS
        _ONE_BLOCK.release()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        answer = _answer(func._schema.name, args, kwargs or {})  # type: ignore[attr-defined]
        return super().__torch_dispatch__(func, types, args, kwargs) if answer is None else answer

    def _count(self, tensor: torch.Tensor, args: Sequence[Any]) -> None:
        if tensor.is_meta:
            super()._count(tensor, args)


def _answer(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The answer to an operation that asks for data, or chooses by it; None for any other.

    Raises:
        MemoryError: a copy to the CPU is too large to be one of results.
    """
    first = args[0] if args else None
    if not isinstance(first, torch.Tensor):
        return None
    if name == "aten::copy_" and not first.is_meta and args[1].is_meta:
        return first
    if not first.is_meta:
        return None
    if name == "aten::_local_scalar_dense":
        return 0.0 if first.is_floating_point() else 0
    if name == "aten::equal":
        return True
    if name == "aten::nonzero":
        # As if all counted, which takes the most memory.
        return torch.zeros(first.numel(), first.ndim, dtype=torch.int64, device=META)
    target = kwargs.get("device")
    if name == "aten::_to_copy" and target is not None and torch.device(target).type == "cpu":
        if first.numel() > LARGEST_COPY:
            raise MemoryError(f"a copy of {first.numel()} entries to the CPU")
        return torch.zeros(first.shape, dtype=kwargs.get("dtype") or first.dtype)
    return None
