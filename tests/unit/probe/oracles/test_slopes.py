"""Slopes by finite differences: of the surrogates of all prompts, and of the loss along random directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import policy_gradient
from pytest_entropy.probe.oracles.random_slopes import RandomSlopes, random_slopes
from pytest_entropy.probe.oracles.slopes import slope_discrepancies
from tests import tiny
from tests.architectures import EXPERTS

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()))


@pytest.fixture(scope="module")
def rollouts(policy: Policy) -> Rollouts:
    return tiny.sample(policy, tiny.prompts(8), G=4)


@pytest.mark.parametrize("estimator", ["rao_blackwell", "reinforce_loo", "action_value"])
def test_every_prompt_has_the_slope_of_its_surrogate(policy: Policy, rollouts: Rollouts, estimator: str) -> None:
    tables = learn(tiny.sample(policy, tiny.prompts(3), G=4, seed=1), 10)
    rollouts = replace(rollouts, control_variate=tables)
    u = tiny.direction(policy)
    found = directional_derivatives(policy, rollouts, u, [estimator, "score"], chunk_tokens=99).per_prompt
    s, score = found[estimator], found["score"]

    def gaps(values: np.ndarray) -> dict[str, float]:
        return slope_discrepancies(policy, rollouts, u, values, score, estimator, chunk_tokens=99)

    right = gaps(s)
    assert right["slopes"] < 1e-2
    assert right["slopes_mean"] < 2e-3
    wrong = s.copy()
    wrong[-1] = 0
    assert gaps(wrong)["slopes"] > 0.9 * abs(s[-1]) / np.sqrt(np.mean(s**2))
    size = np.sqrt(np.mean(s**2))
    assert gaps(s + 0.05 * size)["slopes_mean"] == pytest.approx(0.05, abs=2e-3)


def test_without_a_direction_every_scalar_is_zero(policy: Policy, rollouts: Rollouts) -> None:
    nowhere = {name: torch.zeros_like(p) for name, p in policy.trainable.items()}
    gaps = slope_discrepancies(
        policy, rollouts, nowhere, np.array([0.0, 2.0]), np.zeros(2), "rao_blackwell", chunk_tokens=99
    )
    assert gaps == {"slopes": 2.0, "slopes_mean": 1.0, "slopes_noise": 0.0}


def test_where_nothing_moves_no_slope_is_measured(policy: Policy, rollouts: Rollouts) -> None:
    u = tiny.direction(policy)
    still = np.zeros(len(rollouts))
    assert slope_discrepancies(policy, rollouts, u, still, still, "rao_blackwell", chunk_tokens=99) == {}


def one_tensor(g: Tensors) -> Tensors:
    name = max(g, key=lambda name: float(g[name].norm()))
    return g | {name: torch.zeros_like(g[name])}


def every_a(g: Tensors) -> Tensors:
    return {name: torch.zeros_like(x) if "lora_A" in name else x for name, x in g.items()}


@pytest.mark.parametrize("lost", [one_tensor, every_a])
def test_a_lost_part_of_the_gradient_shows_along_random_directions(
    policy: Policy, rollouts: Rollouts, lost: Callable[[Tensors], Tensors]
) -> None:
    weights = np.random.default_rng(0).standard_normal((len(rollouts), 4)) / 32
    right = policy_gradient(policy, rollouts, torch.from_numpy(weights), chunk_tokens=99)

    def found(g: Tensors) -> RandomSlopes:
        # The direction is zero where the gradient is lost, as an update's is.
        u = {name: -x for name, x in g.items()}
        return random_slopes(policy, rollouts, weights.tolist(), g, u, step=1e-3, seed=3, chunk_tokens=99)

    whole, part = found(right), found(lost(right))
    assert whole.gap < 5e-3
    assert whole.zero_gap == 0
    assert whole.zero_blocks == []
    assert part.gap > 0.02
    assert part.zero_gap > 0.02
    assert all("100% of its entries" in block for block in part.zero_blocks)
    assert part.noise < 5e-3


def test_a_gradient_that_is_zero_by_right_is_no_fault() -> None:
    """A fresh adapter: B is 0, and so is the gradient of every A."""
    model = tiny.lora(tiny.qwen2())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.zero_()
    policy = tiny.policy(model)
    rollouts = tiny.sample(policy, tiny.prompts(6), G=4)
    weights = np.random.default_rng(0).standard_normal((6, 4)) / 24
    g = policy_gradient(policy, rollouts, torch.from_numpy(weights), chunk_tokens=99)
    found = random_slopes(policy, rollouts, weights.tolist(), g, g, step=1e-3, seed=1, chunk_tokens=99)
    assert len(found.zero_blocks) == 6
    assert found.zero_gap < 1e-3
    assert found.gap < 5e-3


def test_a_token_that_goes_to_other_experts_is_noise() -> None:
    """Outputs jump where a step changes a token's experts: the even part is as large there as the discrepancy."""
    jumped = 0
    for seed in range(4):
        policy = tiny.policy(EXPERTS["Llama4"](60), dtype=torch.float64)
        if hasattr(policy.model, "set_experts_implementation"):
            policy.model.set_experts_implementation("eager")
        rollouts = tiny.sample(policy, tiny.prompts(12, seed=seed), G=3, limit=6, seed=seed)
        u = tiny.direction(policy, seed=seed)
        names = ["rao_blackwell", "score"]
        per_prompt = directional_derivatives(policy, rollouts, u, names, chunk_tokens=1000).per_prompt
        s, score = (per_prompt[name] for name in names)
        found = slope_discrepancies(policy, rollouts, u, s, score, names[0], chunk_tokens=1000)
        jumped += found["slopes"] > 2e-2
        assert found["slopes"] <= max(2e-2, 6 * found["slopes_noise"])
    assert jumped
