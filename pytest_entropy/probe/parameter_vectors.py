"""Vectors over the trainable parameters, as tensors by parameter name: inner product and norm in float64."""

from __future__ import annotations

from collections.abc import Mapping

import torch

Tensors = Mapping[str, torch.Tensor]


def inner(left: Tensors, right: Tensors) -> float:
    """<left, right> over all parameters, summed in float64.

    Args:
        left, right: tensors by parameter name; ``right`` holds every name of ``left``.
    """
    return sum(float((left[name].double().cpu() * right[name].double().cpu()).sum()) for name in left)


def norm(tensors: Tensors) -> float:
    """Euclidean norm over all entries of all tensors, in float64."""
    return float(sum(float(t.double().square().sum()) for t in tensors.values()) ** 0.5)
