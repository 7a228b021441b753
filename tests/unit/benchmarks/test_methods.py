"""The benchmark compares like with like: every method gives the same numbers on the same rollouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import methods
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from tests import tiny

METHODS = {
    "per-prompt backward": methods.per_prompt_backward,
    "vmap of grad": methods.vmap_of_grad,
    "forward mode": methods.forward_mode,
}


@pytest.fixture(scope="module")
def case() -> tuple[Policy, Rollouts, dict[str, torch.Tensor]]:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)
    return policy, tiny.sample(policy, tiny.prompts(7)), tiny.direction(policy)


@pytest.mark.parametrize("estimator", ["rao_blackwell", "reinforce_loo"])
@pytest.mark.parametrize("method", METHODS)
def test_equals_the_probe(case: tuple[Policy, Rollouts, dict[str, torch.Tensor]], method: str, estimator: str) -> None:
    policy, rollouts, u = case
    ours = directional_derivatives(policy, rollouts, u, [estimator], chunk_tokens=200).per_prompt[estimator]
    other = METHODS[method](policy, rollouts, u, estimator)
    assert np.abs(ours).max() > 0
    np.testing.assert_allclose(other, ours, rtol=0, atol=1e-6 * np.abs(ours).max())
