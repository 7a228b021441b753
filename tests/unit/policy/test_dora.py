"""DoRA's detached norm: slopes against finite differences of the model itself, and the map against its transpose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.policy.dora import along_slope, slope_gradient
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives import gradient
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.diagnostics.importance_sampling import moved
from pytest_entropy.probe.estimators import weights_for
from pytest_entropy.probe.oracles.hooks import plain_backward
from pytest_entropy.probe.oracles.run import by_definition
from pytest_entropy.probe.oracles.update import loss_slope_discrepancy
from pytest_entropy.probe.parameter_vectors import inner
from tests import tiny
from tests.double import without_float32
from tests.present import present

ADAPTERS: dict[str, dict[str, Any]] = {
    "linear": {},
    "linear with biases, rsLoRA": {"bias": "all", "use_rslora": True},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "a rank and a scale per module": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}},
}


def dora(kind: str = "linear") -> Policy:
    model = tiny.lora(tiny.qwen2(tie_word_embeddings=kind != "embedding"), use_dora=True, **ADAPTERS[kind])
    return tiny.policy(without_float32(model), dtype=torch.float64)


@torch.no_grad()
def finite_difference(
    policy: Policy, rollouts: Rollouts, u: dict[str, torch.Tensor], estimator: str, h: float = 1e-5
) -> np.ndarray:
    """d/dh of each prompt's surrogate at theta + h u, weights held, without any derivative: ``[P]``."""
    weights = weights_for(estimator, policy.teacher_force(rollouts), rollouts)

    def at(step: float) -> torch.Tensor:
        with moved(policy, u, step):
            scores = policy.teacher_force(rollouts)
        total = scores.log_probs * weights.log_prob
        if weights.entropy is not None:
            total = total + scores.entropies * weights.entropy
        return total.sum((1, 2))

    near, far = ((at(step) - at(-step)) / (2 * step) for step in (h, 2 * h))
    return ((4 * near - far) / 3).numpy()


@pytest.mark.parametrize("kind", list(ADAPTERS))
def test_the_derivative_is_the_slope_of_the_model_itself(kind: str) -> None:
    policy = dora(kind)
    rollouts, u = tiny.sample(policy, tiny.prompts(5)), tiny.direction(policy)
    slope = finite_difference(policy, rollouts, u, "rao_blackwell")
    fast = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=99).per_prompt["rao_blackwell"]
    assert np.abs(fast - slope).max() < 1e-6 * np.abs(slope).max()
    for n in range(5):
        own = by_definition(policy, rollouts, n, u, "rao_blackwell")
        assert abs(own.s - fast[n]) < 1e-6 * present(own.size)
    alone, size = plain_backward(policy, rollouts.select([2]), u, "rao_blackwell")
    assert abs(alone - fast[2]) < 1e-6 * size
    mean = gradient.entropy_gradient(policy, rollouts, "rao_blackwell", chunk_tokens=99)
    assert abs(inner(u, mean) - fast.mean()) < 1e-8 * np.abs(fast).mean()


def test_backward_alone_is_not() -> None:
    """What the whole is for: the norm's part is no rounding."""
    policy = dora()
    rollouts, u = tiny.sample(policy, tiny.prompts(5)), tiny.direction(policy)
    slope = finite_difference(policy, rollouts, u, "rao_blackwell")
    ones = {"backward": torch.ones(rollouts.tokens.shape[:2], dtype=torch.float64)}
    score = finite_difference(policy, rollouts, u, "score") * rollouts.tokens.shape[1]
    passed = directional_derivatives(policy, rollouts, u, (), chunk_tokens=99, sequence_weights=ones).per_prompt
    assert np.abs(passed["backward"] - score).max() > 1e-2 * np.abs(score).max() > 0
    assert np.abs(slope).max() > 0


def test_the_updates_gradient_stays_the_trainers_and_its_slope_is_checked_all_the_same() -> None:
    policy = dora()
    rollouts, w = tiny.sample(policy, tiny.prompts(6)), torch.randn(6, 4, dtype=torch.float64)
    found = gradient.policy_gradient(policy, rollouts, w, chunk_tokens=99)
    loss = -(w * policy.teacher_force(rollouts).log_probs.sum(-1)).sum()
    backward = torch.autograd.grad(loss, list(policy.trainable.values()))
    for own, expected in zip(found.values(), backward, strict=True):
        assert torch.allclose(own, expected, rtol=1e-8, atol=1e-12)
    u = {name: -g for name, g in found.items()}
    assert loss_slope_discrepancy(policy, rollouts, w.tolist(), found, u, step=1e-4, chunk_tokens=99)[0] < 1e-6
    assert loss_slope_discrepancy(policy, rollouts, w.tolist(), u, u, step=1e-4, chunk_tokens=99)[0] > 0.1


@pytest.mark.parametrize("kind", list(ADAPTERS))
def test_one_map_is_the_others_transpose(kind: str) -> None:
    policy = dora(kind)
    u, g = tiny.direction(policy, seed=1), tiny.direction(policy, seed=2)
    there, back = inner(along_slope(policy.model, u), g), inner(u, slope_gradient(policy.model, g))
    assert there == pytest.approx(back, rel=1e-10)
    assert there != pytest.approx(inner(u, g), rel=1e-3)


def test_without_dora_nothing_changes() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    u = tiny.direction(policy)
    for same in (along_slope(policy.model, u), slope_gradient(policy.model, u)):
        assert same.keys() == u.keys()
        assert all(same[name] is u[name] for name in u)


def test_estimators_and_sequence_weights_do_not_share_a_pass() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    rollouts = tiny.sample(policy, tiny.prompts(2))
    with pytest.raises(ValueError, match="not in one pass"):
        directional_derivatives(
            policy, rollouts, tiny.direction(policy), ["score"], chunk_tokens=99,
            sequence_weights={"w": torch.ones(2, 4)},
        )  # fmt: skip
