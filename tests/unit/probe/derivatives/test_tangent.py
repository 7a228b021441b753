"""Modules whose outputs are not the batch's rows, are changed in place or write into a cache: every s_n stays exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from tests import tiny
from tests.unit.probe.derivatives.test_directional import plain


class Scales(nn.Module):
    """Scales all tokens once for each expert, all of the first expert before those of the second."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, experts))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        every = x.repeat(len(self.weight), 1).reshape(len(self.weight), -1, x.shape[-1])
        return (every * self.weight[:, None, None]).reshape(-1, x.shape[-1])


class Experts(nn.Module):
    """A feed-forward layer whose output goes through experts that all compute all tokens."""

    def __init__(self, inner: nn.Module, experts: int) -> None:
        super().__init__()
        self.inner, self.scales, self.experts = inner, Scales(experts), experts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.inner(x)
        every: torch.Tensor = self.scales(found.reshape(-1, found.shape[-1]))
        return every.reshape(self.experts, *found.shape).sum(0)


class InPlace(nn.Module):
    """A feed-forward layer that adds to its own norm's output in place."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner, self.norm = inner, nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(self.inner(x))
        found += x
        found *= 0.5
        return found


class SavesItsOutput(nn.Module):
    """A layer whose backward needs its output, which the caller changes in place: wrong for the bare model as well."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner, self.gate = inner, Gate(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.gate(self.inner(x))
        found += x
        return found


class Gate(nn.Module):
    """A gate with weights whose backward needs its own output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.sigmoid(x * self.weight)


def with_layer(make: Callable[[Any], nn.Module]) -> Policy:
    """A tiny policy, all of whose parameters train, with the feed-forward layers replaced."""
    model = tiny.qwen2()
    for layer in model.model.layers:
        layer.mlp = make(layer.mlp)
    return tiny.policy(model, dtype=torch.float64)


LAYERS: dict[str, Callable[[Any], nn.Module]] = {
    "experts of all tokens": lambda inner: Experts(inner, 4),
    # As many experts as the batch has rows, so that the first dimension alone does not tell.
    "experts as many as rows": lambda inner: Experts(inner, 12),
    "in place": lambda inner: InPlace(inner, 32),
}


@pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
@pytest.mark.parametrize("layer", list(LAYERS))
def test_each_prompt_has_its_own_derivative(layer: str, share: bool) -> None:
    policy = with_layer(LAYERS[layer])
    policy.share_prompt = share
    rollouts = tiny.sample(policy, tiny.prompts(4), G=3, limit=6)
    u = tiny.direction(policy)
    found = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10_000)
    exact = plain(policy, rollouts, u, "rao_blackwell")
    assert np.abs(exact).max() > 0
    np.testing.assert_allclose(found.per_prompt["rao_blackwell"], exact, rtol=0, atol=1e-6 * np.abs(exact).max())


def test_what_autograd_refuses_of_the_bare_model_is_refused_under_hooks() -> None:
    """Hooks share the output's memory: a change in place is seen where backward needs the value before it."""
    policy = with_layer(lambda inner: SavesItsOutput(inner, 32))
    rollouts = tiny.sample(policy, tiny.prompts(2), G=2, limit=3)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        plain(policy, rollouts, tiny.direction(policy), "rao_blackwell")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        directional_derivatives(policy, rollouts, tiny.direction(policy), ["rao_blackwell"], chunk_tokens=10_000)
