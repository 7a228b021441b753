"""The derivative of DoRA's norm, which backward leaves out, put back where a slope is wanted.

DoRA's layer is y = (m / |V|) V x with V = W + s B A and |V| the norms of V's rows.  Its authors take |V| for a
constant in backward (arXiv 2402.09353, section 4.3), and so does peft: what a trainer calls the gradient, and takes its
step from, is not the slope of anything.  The entropy changes along that step by the slope all the same.

Moving |V| by d|V| does to y what moving m by -m d|V| / |V| does.  So with C the linear map that adds this to m,

    slope along u = <backward's gradient, C u>,      the slope's gradient = C^T (backward's gradient).

Without DoRA C is the identity, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class _Layer:
    """One adapted layer: the names of its trained tensors, and the norms as a function of A and B."""

    magnitude: str
    maps: tuple[str, ...]
    scale: torch.Tensor
    values: tuple[torch.Tensor, ...]
    norms: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def along_slope(model: nn.Module, direction: Tensors) -> dict[str, torch.Tensor]:
    """C u: the direction whose product with backward's gradient is the slope along ``direction``.

    Tensors by live parameter name; a magnitude is moved by what the norm does, in float64.
    """
    moved = dict(direction)
    for layer in _layers(model):
        steps = tuple(_step(direction, name, value) for name, value in zip(layer.maps, layer.values, strict=True))
        change = torch.func.jvp(layer.norms, layer.values, steps)[1]
        own = direction.get(layer.magnitude)
        by_norm = -layer.scale * change
        moved[layer.magnitude] = by_norm if own is None else own.double().cpu() + by_norm.view(own.shape)
    return moved


def slope_gradient(model: nn.Module, gradient: Tensors) -> dict[str, torch.Tensor]:
    """C^T g: the slope's gradient from backward's, by live parameter name, float64 where the norm adds to it."""
    whole = dict(gradient)
    for layer in _layers(model):
        if layer.magnitude not in gradient:
            continue
        pull = torch.func.vjp(layer.norms, *layer.values)[1]
        own = gradient[layer.magnitude].double().cpu()
        for name, part in zip(layer.maps, pull(-layer.scale * own.view(layer.scale.shape)), strict=True):
            if name in whole:
                whole[name] = whole[name].double().cpu() + part
    return whole


def _step(direction: Tensors, name: str, value: torch.Tensor) -> torch.Tensor:
    return direction[name].double().cpu() if name in direction else torch.zeros_like(value)


def _layers(model: nn.Module) -> Iterator[_Layer]:
    for name, module in model.named_modules():
        for adapter, vector in (getattr(module, "lora_magnitude_vector", None) or {}).items():
            yield _layer(name, module, adapter, vector)


def _layer(name: str, module: Any, adapter: str, vector: Any) -> _Layer:
    from peft.utils.integrations import dequantize_module_weight

    if adapter in module.lora_A:
        maps = tuple(f"{name}.lora_{letter}.{adapter}.weight" for letter in "AB")
        values = tuple(getattr(module, f"lora_{letter}")[adapter].weight for letter in "AB")
    else:
        maps = tuple(f"{name}.lora_embedding_{letter}.{adapter}" for letter in "AB")
        values = tuple(getattr(module, f"lora_embedding_{letter}")[adapter] for letter in "AB")
    base = dequantize_module_weight(module.get_base_layer()).detach().double().cpu()

    def norms(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        product = b.flatten(1) @ a.flatten(1)
        if base.ndim > 2:
            product = product.reshape(base.shape)
        found: torch.Tensor = vector.get_weight_norm(base, product, module.scaling[adapter])
        return found

    a, b = (value.detach().double().cpu() for value in values)
    with torch.no_grad():
        scale = vector.weight.detach().double().cpu() / norms(a, b)
    return _Layer(f"{name}.lora_magnitude_vector.{adapter}.weight", maps, scale, (a, b), norms)
