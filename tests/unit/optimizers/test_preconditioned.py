"""The oracle of the preconditioned rule where the stored second moment is 0, as of embedding rows never trained."""

from __future__ import annotations

import torch

from pytest_entropy.optimizers.rules.preconditioned import direction, torch_step
from pytest_entropy.optimizers.state import ParameterState


def test_the_oracle_is_exact_where_nothing_was_ever_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(5, 7, generator=generator) * 1e-2
    v = torch.rand(5, 7, generator=generator) ** 8
    v[2:] = 0.0
    state = ParameterState(
        step=5, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1, exp_avg=torch.zeros(5, 7), exp_avg_sq=v
    )
    expected = direction({"x": g}, {"x": state}, {"x": g})["x"]
    real = torch_step(g.double(), state, g.double())
    assert torch.isfinite(real).all()
    torch.testing.assert_close(real, expected, rtol=1e-12, atol=0)
