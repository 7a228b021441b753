"""Correction for the derivative of DoRA's norm, which backward omits and a directional derivative needs.

DoRA's layer is y = (m / |V|) V x with V = W + s B A and |V| the norms of V's rows.  Its authors treat |V| as a
constant in backward (arXiv 2402.09353, section 4.3), and so does peft: the gradient a trainer computes, and takes its
step from, is not the true gradient of the loss.  The entropy still changes along that step by its true slope.

Moving |V| by d|V| changes y as moving m by -m d|V| / |V| does.  So with C the linear map that adds this to m,

    slope along u = <backward's gradient, C u>,      true gradient = C^T (backward's gradient).

Without DoRA, C is the identity.
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
    """One DoRA layer.

    Attributes:
        magnitude: the parameter name of m.
        maps: the parameter names of A and B.
        scale: m / |V|, float64.
        values: A and B, float64.
        norms: |V| as a function of A and B.
    """

    magnitude: str
    maps: tuple[str, ...]
    scale: torch.Tensor
    values: tuple[torch.Tensor, ...]
    norms: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def along_slope(model: nn.Module, direction: Tensors) -> dict[str, torch.Tensor]:
    """C u by parameter name, u corrected for DoRA's norm: backward's gradient times C u is the slope along u.

    The magnitudes of DoRA layers are float64, the other tensors those of ``direction``.

    Args:
        model: the policy's, with or without DoRA layers.
        direction: u by the model's parameter names.
    """
    corrected = dict(direction)
    for layer in _layers(model):
        steps = tuple(_step(direction, name, value) for name, value in zip(layer.maps, layer.values, strict=True))
        change = torch.func.jvp(layer.norms, layer.values, steps)[1]
        magnitude = direction.get(layer.magnitude)
        correction = -layer.scale * change
        corrected[layer.magnitude] = (
            correction if magnitude is None else magnitude.double().cpu() + correction.view(magnitude.shape)
        )
    return corrected


def slope_gradient(model: nn.Module, gradient: Tensors) -> dict[str, torch.Tensor]:
    """C^T g, the true gradient, by parameter name; float64 for the A and B of DoRA layers.

    Args:
        model: the policy's, with or without DoRA layers.
        gradient: backward's gradient g, by the model's parameter names.
    """
    corrected = dict(gradient)
    for layer in _layers(model):
        if layer.magnitude not in gradient:
            continue
        pull = torch.func.vjp(layer.norms, *layer.values)[1]
        magnitude = gradient[layer.magnitude].double().cpu()
        for name, part in zip(layer.maps, pull(-layer.scale * magnitude.view(layer.scale.shape)), strict=True):
            if name in corrected:
                corrected[name] = corrected[name].double().cpu() + part
    return corrected


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
