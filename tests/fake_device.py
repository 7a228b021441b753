"""A second device without hardware: tensors that report ``gpu:0``, refuse to mix as a GPU's do, and hold real numbers.

torch's slot for backends of others (PrivateUse1) is renamed ``gpu``.  An :class:`OnDevice` tensor has that device for
torch, its autograd engine and all code that asks, and keeps its numbers in a CPU tensor, on which operations are
computed.  So a whole run goes through its real branches, backward on a thread of its own included, and gives the CPU's
numbers.  What may mix is torch's own rule: nothing, but CPU tensors of no dimension in an operation of two operands,
and CPU indices into a tensor on the device.

Within :func:`counted` what makes the host wait for a GPU is counted, with the line of the package that asks for it.

The renaming is for the process: use it in one of its own (:mod:`tests.whole_runs`).
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "gpu"
LIBRARY = torch.library.Library("aten", "IMPL")
GRAD = torch.autograd.grad
aten = torch.ops.aten
# Operations whose operands may lie on different devices.
CARRIES = {"copy_", "_to_copy"}
# Operations, beside pointwise ones of two operands, that read a CPU tensor of no dimension as they would a number.
READS_NUMBERS = {"where", "masked_fill", "masked_fill_", "fill_", "index_put", "index_put_"}
INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Operations whose result, or its size, the host has to know before it goes on.
ASKS = {"_local_scalar_dense", "is_nonzero", "equal"}
SIZED_BY_NUMBERS = {
    "nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount",
    "repeat_interleave",
}  # fmt: skip
# What :func:`counted` blocks count: (kind, line of the package) of every wait and every large float64 table.
COUNTS: list[tuple[Counter[tuple[str, str]], int]] = []


class MixedDevices(RuntimeError):
    """An operation whose operands a GPU's kernels would not take together."""


class OnDevice(torch.Tensor):
    """A tensor of the device; ``held`` are its numbers."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.held!r})"

    def numpy(self, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy; use .cpu() first")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


class Device(TorchDispatchMode):
    """While it is on, what is made with ``device="gpu"`` is made there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


class Backend(_DummyBackendModule):
    """What torch asks of a device's module (``torch.cuda`` is CUDA's)."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def set_up() -> None:
    """Make the device; once in a process."""
    _setup_privateuseone_for_python_backend(NAME, Backend())
    # torch.tensor makes its result below all modes.
    LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
    LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")

    # Autograd does not ask where a gradient is if its tensor is of a class of its own.
    torch.autograd.grad = _grad  # type: ignore[assignment]


def _grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> tuple[torch.Tensor | None, ...]:
    grads: tuple[torch.Tensor | None, ...] = GRAD(outputs, inputs, *args, **kwargs)
    for x, g in zip([inputs] if isinstance(inputs, torch.Tensor) else inputs, grads, strict=True):
        if g is not None and g.device != x.device:
            raise MixedDevices(f"autograd: expected a gradient on the same device, {x.device}, but got {g.device}")
    return grads


def _empty_strided(*args: Any, **kwargs: Any) -> torch.Tensor:
    made: torch.Tensor = computed(aten.empty_strided.default, args, kwargs)
    return made


def _copy_from(source: torch.Tensor, to: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    copied: torch.Tensor = computed(aten.copy_.default, (to, source), {})
    return copied


@contextmanager
def counted(vocabulary: int) -> Iterator[Counter[tuple[str, str]]]:
    """Count, within the block, by (kind, line of the package).

    Kinds are ``asks`` (a number of the device, or the size of a result), ``copies`` (of a tensor to the host) and
    ``float64 table`` (a tensor of more than one row of ``vocabulary`` entries, made and not viewed).
    """
    counts: Counter[tuple[str, str]] = Counter()
    COUNTS.append((counts, vocabulary))
    try:
        yield counts
    finally:
        COUNTS.pop()


def _count(func: Any, name: str, operands: list[tuple[str, torch.Tensor, bool]], to: Any, out: Any) -> None:
    masks = name in INDEXES and any(a == "indices" and x.dtype in (torch.bool, torch.uint8) for a, x, _ in operands)
    kinds = []
    if name in ASKS or name in SIZED_BY_NUMBERS or masks:
        kinds.append("asks")
    elif name in CARRIES and not (isinstance(operands[0][1], OnDevice) if name == "copy_" else to is None):
        kinds.append("copies")
    for counts, vocabulary in COUNTS:
        wide = isinstance(out, torch.Tensor) and out.dtype == torch.float64 and out.shape[-1:] == (vocabulary,)
        tables = ["float64 table"] if wide and not func.is_view and out.numel() > vocabulary else []
        for kind in (*kinds, *tables):
            counts[kind, _line()] += 1


def _line() -> str:
    frames = [x for x in traceback.extract_stack() if "/pytest_entropy/" in x.filename]
    if not frames:
        return "torch's own"
    return f"{frames[-1].filename.split('/pytest_entropy/')[-1]}:{frames[-1].lineno}: {frames[-1].line}"


@cache
def _arguments(func: Any) -> tuple[str, bool, tuple[tuple[str, bool], ...]]:
    """(name, whether it works on two operands elementwise, (name, is written to) of its arguments) of an operation."""
    named = tuple(
        (a.name, a.alias_info is not None and a.alias_info.is_write and a.type.kind() == "TensorType")
        for a in func._schema.arguments
    )
    return func._schema.name.split("::")[1], torch.Tag.pointwise in func.tags, named


def computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operation as the devices of its operands have it.

    Raises:
        MixedDevices: a GPU would refuse.
    """
    name, pointwise, arguments = _arguments(func)
    operands = _operands(arguments, args, kwargs)
    asked = kwargs.get("device")
    to_it = asked is not None and torch.device(asked).type == NAME
    here = any(isinstance(x, OnDevice) for _, x, _ in operands)
    if not (here or to_it):
        return func(*args, **kwargs)
    if torch.Tag.inplace_view in func.tags:
        # The wrapper would keep its shape.
        raise NotImplementedError(f"{name} changes a tensor's shape in place")
    if name == "_fused_sdp_choice":
        return 0  # attention by its definition
    if name == "_efficientzerotensor":
        func = aten.zeros.default  # the special one has no memory to compute on
    if here and name not in CARRIES:
        _require_one_device(name, operands, two=pointwise and len(operands) == 2)
    own = {id(x.held): x for _, x, written in operands if written and isinstance(x, OnDevice)}
    kwargs = {key: _held(x) for key, x in kwargs.items()}
    if to_it:
        kwargs["device"] = "cpu"
    out = func(*map(_held, args), **kwargs)
    if COUNTS and here:
        _count(func, name, operands, None if to_it else asked, out)
    if name == "copy_" and not isinstance(args[0], OnDevice):
        return out
    return _placed(out, own) if to_it or (here and asked is None) else out


def _operands(
    arguments: tuple[tuple[str, bool], ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[str, torch.Tensor, bool]]:
    """(argument, tensor, whether it is written to) of every tensor an operation is given."""
    found = []
    for i, (name, written) in enumerate(arguments):
        value = args[i] if i < len(args) else kwargs.get(name)
        for x in value if isinstance(value, list | tuple) else (value,):
            if isinstance(x, torch.Tensor):
                found.append((name, x, written))
    return found


def _require_one_device(name: str, operands: list[tuple[str, torch.Tensor, bool]], *, two: bool) -> None:
    indexed_here = name in INDEXES and isinstance(operands[0][1], OnDevice)
    for argument, x, written in operands:
        if isinstance(x, OnDevice):
            continue
        as_number = x.ndim == 0 and not written and (two or name in READS_NUMBERS)
        if not (as_number or (indexed_here and argument == "indices")):
            places = ", ".join(f"{a} {tuple(t.shape)} on {t.device}" for a, t, _ in operands)
            raise MixedDevices(f"{name}: expected all tensors to be on the same device, but got {places}")


def _held(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return type(x)(map(_held, x))
    return x.held if isinstance(x, OnDevice) else x


def _placed(x: Any, own: dict[int, OnDevice]) -> Any:
    """Results on the device; what was changed in place is the tensor it was."""
    if isinstance(x, list | tuple):
        return type(x)(_placed(y, own) for y in x)
    if not isinstance(x, torch.Tensor):
        return x
    return own[id(x)] if id(x) in own else OnDevice(x)


def to_device(model: torch.nn.Module, device: str, *, frozen: torch.dtype, trained: torch.dtype) -> torch.nn.Module:
    """The model with its parameters and buffers on the device, shared ones still shared, in these precisions.

    (``Module.to`` would part tied weights on a device whose tensors are a class of their own.)
    """
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for key, p in module._parameters.items():
            if p is not None:
                if id(p) not in made:
                    there = p.detach().to(trained if p.requires_grad else frozen).to(device)
                    made[id(p)] = torch.nn.Parameter(there, requires_grad=p.requires_grad)
                module._parameters[key] = made[id(p)]
        for key, b in module._buffers.items():
            if b is not None:
                module._buffers[key] = b.to(device)
    return model
