"""Models that are float64 throughout: transformers' RMS norms compute in float32 whatever the weights are."""

from __future__ import annotations

from typing import Any

import torch


def without_float32(model: Any) -> Any:
    """The model in float64 with its RMS norms replaced by torch's own, which keep float64; same parameters."""
    model = model.double()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                norm = torch.nn.RMSNorm(tuple(child.weight.shape), eps=child.variance_epsilon)
                norm.weight = child.weight
                setattr(module, name, norm.train(child.training))
    return model
