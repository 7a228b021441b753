"""Plain LoRA adapters merged into their weights within a block: one product where there are three.

A layer y = x W^T + s (x A^T) B^T computes x (W + s B A)^T instead, with weights of the block's own: no parameter and no
module changes, and nothing has to be restored but the layers' forward functions.  Only where the merged weight is the
same policy up to float32's rounding: in bfloat16 the adapter is below what a weight resolves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.text_part import has_experts

# Bytes of merged weights that are held beside the model; adapters of larger models stay as they are.
LARGEST = 2**29


@dataclass(frozen=True)
class MergedLayer:
    """One layer's adapter and its merged weight.

    Attributes:
        down, up: A ``[r, in]`` and B ``[out, r]``, the parameters.
        scaling: s.
        weight: W + s B A ``[out, in]``.
        bias: of the base layer.
    """

    down: nn.Parameter
    up: nn.Parameter
    scaling: float
    weight: torch.Tensor
    bias: torch.Tensor | None

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The layer's output."""
        return functional.linear(x, self.weight, self.bias)


@dataclass
class _Block:
    """The layers that are merged in a model, and the number of blocks that use them."""

    layers: list[nn.Module]
    users: int = 0


_BLOCKS: WeakKeyDictionary[nn.Module, _Block] = WeakKeyDictionary()
_ACTIVE: WeakKeyDictionary[nn.Module, MergedLayer] = WeakKeyDictionary()
_LOCK = threading.Lock()


def merged_layer(module: nn.Module) -> MergedLayer | None:
    """What a module computes at the moment in place of itself; None for a module that is not merged."""
    return _ACTIVE.get(module)


def require_unmerged(policy: Policy) -> None:
    """Reject a policy whose gradient is asked for while its adapter is merged.

    Args:
        policy: whose parameters' gradient is asked for.

    Raises:
        RuntimeError: a layer is merged.
    """
    if any(map(merged_layer, policy.model.modules())):
        raise RuntimeError("a merged adapter has no gradient: take it from the adapter itself")


@contextmanager
def merged(policy: Policy) -> Iterator[None]:
    """A block in which the policy's plain LoRA layers compute with merged weights, and have no gradient of their own.

    Layers with DoRA, several adapters, hooks, a quantised or half-precision base, or a trained base stay as they are;
    all of them do in models with experts, and where their weights come to more than ``LARGEST`` bytes.  Blocks may nest
    or run in several threads: the first merges, the last undoes it.

    Args:
        policy: in eval mode; no parameter may change within the block.
    """
    model = policy.model
    with _LOCK:
        block = _BLOCKS.get(model)
        if block is None:
            block = _BLOCKS[model] = _Block(_swap(policy))
        block.users += 1
    try:
        yield
    finally:
        with _LOCK:
            block.users -= 1
            if not block.users:
                del _BLOCKS[model]
                for module in block.layers:
                    del _ACTIVE[module], module.forward


def _swap(policy: Policy) -> list[nn.Module]:
    """Give the layers that can be merged the forward function of their merged weight; the layers."""
    layers = _plain_layers(policy)
    made = [_merge(module) for module in layers]
    for module, layer in zip(layers, made, strict=True):
        _ACTIVE[module] = layer
        module.forward = layer.forward
    return layers


def merged_bytes(policy: Policy) -> int:
    """Bytes that merged weights take beside the model.

    Args:
        policy: whose adapter would be merged.
    """
    return _bytes(_plain_layers(policy))


def _plain_layers(policy: Policy) -> list[nn.Module]:
    """The layers that can be merged; none where their weights are too large."""
    trained = {id(parameter) for parameter in policy.trainable.values()}
    # Experts get the tokens that are routed to them, which hooks leave to a plain backward of the adapter.
    layers = [] if has_experts(policy.model) else [m for m in policy.model.modules() if _is_plain(m, trained)]
    return layers if _bytes(layers) <= LARGEST else []


def _bytes(layers: list[nn.Module]) -> int:
    return sum(_base(layer).weight.nbytes for layer in layers)


def _is_plain(module: nn.Module, trained: set[int]) -> bool:
    """Whether a module is a LoRA layer on a frozen linear map and nothing else, in float32 or float64."""
    if type(module).__module__ != "peft.tuners.lora.layer" or type(module).__name__ != "Linear":
        return False
    layer: Any = module
    names, base = list(layer.active_adapters), layer.base_layer
    if len(names) != 1 or names[0] not in layer.lora_A or set(layer.lora_A) != set(names):
        return False
    name = names[0]
    down, up = layer.lora_A[name], layer.lora_B[name]
    if layer.merged or layer.disable_adapters or layer.fan_in_fan_out or "forward" in vars(layer):
        return False
    if getattr(layer, "lora_variant", {}).get(name) is not None or layer.use_dora.get(name, False):
        return False
    parts = (base, down, up)
    if any(type(part) is not nn.Linear for part in parts) or any(
        map(_hooked, (layer, layer.lora_dropout[name], *parts))
    ):
        return False
    weights = [part.weight for part in parts]
    same = len({(weight.dtype, weight.device) for weight in weights}) == 1
    frozen = not any(id(parameter) in trained for parameter in base.parameters())
    bare = down.bias is None and up.bias is None
    return same and frozen and bare and base.weight.dtype in (torch.float32, torch.float64)


def _hooked(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return "forward" in vars(module) or any(hooks)


def _base(module: Any) -> nn.Linear:
    base: nn.Linear = module.base_layer
    return base


@torch.no_grad()
def _merge(module: Any) -> MergedLayer:
    (name,) = module.active_adapters
    base, down, up = _base(module), module.lora_A[name].weight, module.lora_B[name].weight
    scaling = float(module.scaling[name])
    weight = torch.addmm(base.weight, up, down, alpha=scaling)
    return MergedLayer(down, up, scaling, weight, None if base.bias is None else base.bias.detach())
