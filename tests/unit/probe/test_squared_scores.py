"""Squared scores along u: proportional to the derivatives' squares, and what stands in for them."""

from __future__ import annotations

import pytest
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe import squared_scores as module
from pytest_entropy.probe.squared_scores import squared_scores
from tests import tiny


def exact(policy: Policy, u: dict[str, torch.Tensor], batch: Rollouts) -> torch.Tensor:
    """l_k^2 of every token by reverse mode, one token at a time."""
    scored, found = policy.teacher_force(batch), torch.zeros(batch.tokens.shape, dtype=torch.float64)
    parameters = list(policy.trainable.values())
    for n, g, k in batch.mask.nonzero().tolist():
        grads = torch.autograd.grad(scored.log_probs[n, g, k], parameters, retain_graph=True, allow_unused=True)
        pairs = zip(policy.trainable, grads, strict=True)
        found[n, g, k] = sum(float((x.double() * u[name].double()).sum()) for name, x in pairs if x is not None) ** 2
    return found


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_they_are_proportional_to_squared_derivatives_whatever_the_size_of_u(scale: float) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    batch, u = tiny.sample(policy, tiny.prompts(4), G=2, limit=5), tiny.direction(policy)
    before = {name: p.detach().clone() for name, p in policy.trainable.items()}
    scaled = {name: scale * v for name, v in u.items()}
    found, expected = squared_scores(policy, batch, scaled, chunk_tokens=60), exact(policy, u, batch)
    found, expected = found / found.sum(), expected / expected.sum()
    assert float((found - expected).abs().max()) < 0.05 * float(expected.max())
    assert not found[~batch.mask].any()
    assert all(torch.equal(p, before[name]) for name, p in policy.trainable.items())


@pytest.mark.parametrize("case", ["u is zero", "coarse weights", "large", "no step will do"])
def test_competing_tokens_stand_in(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    batch, u = tiny.sample(policy, tiny.prompts(4), G=2, limit=5), tiny.direction(policy)
    if case == "u is zero":
        u = {name: torch.zeros_like(v) for name, v in u.items()}
    elif case == "coarse weights":
        monkeypatch.setattr(module, "is_coarse", lambda policy: True)
    elif case == "large":
        monkeypatch.setattr(module, "LARGEST", 100)
    else:
        monkeypatch.setattr(module, "LEAST", 1e9)
    expected = (1 - batch.log_probs.double().exp()) ** 2 * batch.mask
    torch.testing.assert_close(squared_scores(policy, batch, u, chunk_tokens=60), expected)
