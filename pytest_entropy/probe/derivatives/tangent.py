"""Directional derivatives for a whole batch in one backward: one dummy scalar epsilon per prompt.

Put theta -> theta + epsilon_n u into the forward pass for the rows of prompt n.  At epsilon = 0,

    d surrogate_n / d epsilon_n = <grad_theta surrogate_n, u>,

because prompts do not interact.  The chain rule needs the tangent of each parameter-owning module at its own
input only, J_M(x)[u], so a forward hook leaves the module's output unchanged and, in backward, dots the
incoming gradient with that tangent.  No weight gradient is ever formed, and no per-prompt vector
(docs/mathematics.md §3).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from pytest_entropy.policy.merged_adapter import MergedLayer, merged_layer
from pytest_entropy.policy.row_map import part_of_pass, positions_per_row, rows_per_prompt
from pytest_entropy.probe.derivatives.module_tangent import module_tangent


class _Attach(torch.autograd.Function):
    """Identity in the forward pass; sends <grad, tangent> of each prompt's rows to epsilon in backward."""

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, epsilon: torch.Tensor, tangent: torch.Tensor, per_prompt: int
    ) -> torch.Tensor:
        ctx.save_for_backward(tangent)
        ctx.prompts, ctx.per_prompt, ctx.place = len(epsilon), per_prompt, epsilon.device
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        (tangent,) = ctx.saved_tensors
        product = (grads[0] * tangent).reshape(ctx.prompts, -1)
        return grads[0], product.sum(1, dtype=torch.float64).to(ctx.place), None, None


class _AttachWide(torch.autograd.Function):
    """:class:`_Attach` for a tangent x U^T that is wider than x, with <grad, x U^T> computed as <grad U, x>.

    The product is formed on the narrow side, and no tangent of the output's size is kept until backward: for a linear
    map that widens (the B of LoRA above all), and for a merged adapter, whose x has its rank.
    """

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, epsilon: torch.Tensor, x: torch.Tensor, moved: torch.Tensor, per_prompt: int
    ) -> torch.Tensor:
        ctx.save_for_backward(x, moved)
        ctx.prompts, ctx.place = len(epsilon), epsilon.device
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        x, moved = ctx.saved_tensors
        product = (torch.matmul(grads[0], moved) * x).reshape(ctx.prompts, -1)
        return grads[0], product.sum(1, dtype=torch.float64).to(ctx.place), None, None, None


class _Refuse(torch.autograd.Function):
    """Identity in the forward pass; raises in backward if a gradient arrives, for outputs whose rows are mixed."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, epsilon: torch.Tensor, message: str) -> torch.Tensor:
        ctx.message = message
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        if bool(grads[0].any()):
            raise RuntimeError(ctx.message)
        return grads[0], None, None


class _State(threading.local):
    epsilon: torch.Tensor | None = None


class Tangent:
    """Forward hooks that make a model's backward compute <gradient, u> per prompt for a direction u.

    Args:
        model: the module whose forward pass is differentiated.
        direction: u by live parameter name, in the parameters' shapes.  Parameters it does not name do not move.

    Raises:
        KeyError: the direction names a parameter that the model does not have.

    Call :meth:`attach` before the forward passes, and run each of them within :meth:`at` with its epsilon.  A
    parameter that no module's forward uses (an ``nn.ParameterDict`` entry, say) is not covered: after a pass,
    :meth:`uncovered` names such parameters, and the caller adds their part by a plain backward.  Tangents of several
    directions may be attached at once if they were made by :meth:`together`.
    """

    def __init__(self, model: nn.Module, direction: Mapping[str, torch.Tensor]) -> None:
        by_identity: dict[int, tuple[str, torch.Tensor]] = {}
        for name, parameter in model.named_parameters():
            if name in direction:
                moved = direction[name].to(device=parameter.device, dtype=parameter.dtype)
                by_identity[id(parameter)] = (name, moved)
        missing = set(direction) - {name for name, _ in by_identity.values()}
        if missing:
            raise KeyError(f"the direction names parameters the model does not have: {sorted(missing)[:3]}")
        self.direction = dict(by_identity.values())
        self._owners: dict[nn.Module, dict[str, torch.Tensor]] = {}
        self._names: dict[nn.Module, set[str]] = {}
        # DoRA subtracts its base layer's bias again, outside that layer's forward: hooks would miss it.
        outside = {id(m.base_layer) for m in model.modules() if getattr(m, "lora_magnitude_vector", None)}
        layers = {module: layer for module in model.modules() if (layer := merged_layer(module)) is not None}
        merged = {id(parameter) for layer in layers.values() for parameter in (layer.down, layer.up)}
        self._merged: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
        for module, layer in layers.items():
            self._take_merged(module, layer, by_identity)
        for module in model.modules():
            # A tied weight belongs to every module that holds it.
            own = {
                key: by_identity[id(p)]
                for key, p in module._parameters.items()
                if p is not None and id(p) in by_identity and id(p) not in merged
            }
            if id(module) in outside:
                own.pop("bias", None)
            if own:
                self._owners[module] = {key: moved for key, (_, moved) in own.items()}
                self._names[module] = {name for name, _ in own.values()}
        self._fired: set[str] = set()
        self._left: set[str] = set()
        self._state = _State()
        # Weakly: in a circle of references their tensors would stay until memory is collected.
        self._together: tuple[weakref.ref[Tangent], ...] = (weakref.ref(self),)

    def _take_merged(
        self, module: nn.Module, layer: MergedLayer, by_identity: Mapping[int, tuple[str, torch.Tensor]]
    ) -> None:
        """Follow a merged adapter: x moves by z U^T, z = x [A, U_A]^T and U = s [U_B, B] (docs/mathematics.md §3)."""
        named = [by_identity.get(id(parameter)) for parameter in (layer.down, layer.up)]
        if not any(named):
            return
        down, up = layer.down.detach(), layer.up.detach()
        along = [torch.zeros_like(p) if entry is None else entry[1] for p, entry in zip((down, up), named, strict=True)]
        self._merged[module] = torch.cat([down, along[0]]), layer.scaling * torch.cat([along[1], up], dim=1)
        self._names[module] = {entry[0] for entry in named if entry is not None}

    @classmethod
    def together(cls, model: nn.Module, directions: Iterable[Mapping[str, torch.Tensor]]) -> list[Tangent]:
        """The tangents of several directions, whose hooks may be attached to the model at the same time.

        Args:
            model: the module whose forward pass is differentiated.
            directions: each a u by live parameter name.

        Raises:
            KeyError: a direction names a parameter that the model does not have.
        """
        tangents = [cls(model, direction) for direction in directions]
        for tangent in tangents:
            tangent._together = tuple(map(weakref.ref, tangents))
        return tangents

    def attach(self) -> list[RemovableHandle]:
        """Register the forward hooks and return their handles, which the caller removes."""
        handles = [m.register_forward_hook(self._hook, with_kwargs=True) for m in self._owners]
        return handles + [m.register_forward_hook(self._merged_hook) for m in self._merged]

    @contextmanager
    def at(self, epsilon: torch.Tensor | None) -> Iterator[None]:
        """Make this thread's forward passes within the block depend on ``epsilon``.

        Args:
            epsilon: zeros ``[P]``, one for each prompt of the pass; None switches the hooks off.
        """
        previous, self._state.epsilon = self._state.epsilon, epsilon
        try:
            with part_of_pass(lambda: self.at(epsilon)):
                yield
        finally:
            self._state.epsilon = previous

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """A block in which no hook of these directions fires in this thread."""
        with ExitStack() as stack:
            for tangent in filter(None, (one() for one in self._together)):
                stack.enter_context(tangent.at(None))
            yield

    def uncovered(self) -> list[str]:
        """Names of the direction's parameters that no hook has covered in any pass so far."""
        return [name for name in self.direction if name not in self._fired or name in self._left]

    def _hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        epsilon = self._state.epsilon
        # A module that gives several tensors (a router of experts) is left to the plain backward.
        if epsilon is None or not isinstance(output, torch.Tensor) or self._names[module] & self._left:
            return None
        if not _keeps_rows(output, len(epsilon) * rows_per_prompt()):
            # DoRA sends an identity matrix through its maps and detaches the result: then no gradient comes back.
            message = _mixes_rows(module, output, epsilon)
            if not isinstance(module, nn.Linear) and not self._names[module] & self._fired:
                return self._leave(module)
            self._fired |= self._names[module]
            return _Refuse.apply(output, epsilon, message)  # type: ignore[no-untyped-call]
        moved = self._owners[module]
        args, kwargs = _on_device(output.device, args, kwargs)
        widens = type(module) is nn.Linear and not kwargs and module.in_features < module.out_features
        if widens and set(moved) == {"weight"}:
            self._fired |= self._names[module]
            x, weight = args[0].detach(), moved["weight"]
            return _AttachWide.apply(output, epsilon, x, weight, rows_per_prompt())  # type: ignore[no-untyped-call]
        # A module may call others that carry hooks, which must not fire while its tangent is computed.
        try:
            with self._quiet(), torch.no_grad():
                tangent = module_tangent(module, moved, args, kwargs)
        except NotImplementedError:
            return self._leave(module)
        self._fired |= self._names[module]
        return _Attach.apply(output, epsilon, tangent, rows_per_prompt())  # type: ignore[no-untyped-call]

    def _merged_hook(self, module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> Any:
        epsilon = self._state.epsilon
        if epsilon is None:
            return None
        if (layer := merged_layer(module)) is None:
            raise RuntimeError("the adapter was merged when the direction was attached, and is not now")
        self._fired |= self._names[module]
        if not _keeps_rows(output, len(epsilon) * rows_per_prompt()):
            return _Refuse.apply(output, epsilon, _mixes_rows(module, output, epsilon))  # type: ignore[no-untyped-call]
        down, up = self._merged[module]
        with torch.no_grad():
            z = functional.linear(args[0].to(layer.weight.dtype), down)
        return _AttachWide.apply(output, epsilon, z, up, rows_per_prompt())  # type: ignore[no-untyped-call]

    def _leave(self, module: nn.Module) -> None:
        """Leave a module's parameters to the plain backward, in this pass and all others."""
        self._left |= self._names[module]


def _mixes_rows(module: nn.Module, output: torch.Tensor, epsilon: torch.Tensor) -> str:
    return (
        f"{type(module).__name__} gives {tuple(output.shape)} numbers for {len(epsilon)} prompts of "
        f"{rows_per_prompt()} rows: it does not keep the batch's rows together"
    )


def _keeps_rows(output: torch.Tensor, rows: int) -> bool:
    """Whether an output's numbers come row by row of the batch: ``[rows, …]``, or ``[rows * positions, …]``.

    Experts may compute all tokens for each of them, ``[experts * tokens, …]``, or only those that are routed to them.
    """
    positions, first = positions_per_row(), output.shape[0]
    if positions is None:
        return first % rows == 0
    inner = rows > 1 and rows * positions in output.shape[1:-1]
    return first == rows * positions or (output.dim() > 2 and first == rows and not inner)


def _on_device(
    device: torch.device, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A module's inputs where it computes: of a model across several devices they may lie where the last one did."""
    if all(x.device == device for x in args if isinstance(x, torch.Tensor)):
        return args, kwargs

    def there(x: Any) -> Any:
        return x.to(device) if isinstance(x, torch.Tensor) else x

    return tuple(map(there, args)), {key: there(x) for key, x in kwargs.items()}
