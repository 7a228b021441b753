"""The noise of rounding: 0 where nothing rounds, bfloat16's where that does, blind to the policy's faults."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.oracles.rounding_noise import rounding_noise, scalar_noise, token_noise
from tests import tiny

NAMES = {"noise_log_probs", "noise_entropies", "noise_nats", "noise_scalars"}


def policy_of(dtype: torch.dtype) -> Policy:
    """A tiny Qwen2 with a frozen base of this type and a float32 adapter."""
    model: Any = tiny.lora(tiny.qwen2())
    policy = tiny.policy(model)
    for p in model.parameters():
        if not p.requires_grad:
            p.data = p.data.to(dtype)
    return policy


def test_the_two_splits_are_the_same_mathematics() -> None:
    policy = policy_of(torch.float32)
    rollouts, u = tiny.sample(policy, tiny.prompts(3)), tiny.direction(policy)
    assert max(token_noise(policy, rollouts, 1).values()) < 1e-4
    assert scalar_noise(policy, rollouts, 1, u, "rao_blackwell") < 1e-3
    assert rounding_noise(policy, rollouts, u, "rao_blackwell") == {}


def test_coarse_weights_have_noise_that_a_fault_of_the_policy_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(torch.bfloat16)
    rollouts, u = tiny.sample(policy, tiny.prompts(3)), tiny.direction(policy)
    noise = rounding_noise(policy, rollouts, u, "rao_blackwell")
    assert set(noise) == NAMES
    assert all(1e-5 < value < 0.25 for value in noise.values()), noise
    forward = Policy.forward
    monkeypatch.setattr(Policy, "forward", lambda self, *arguments, **named: 2 * forward(self, *arguments, **named))
    assert rounding_noise(policy, rollouts, u, "rao_blackwell") == noise
