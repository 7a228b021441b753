"""Layers that are recomputed in backward: the same numbers, less memory, and a model that is as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.recomputation import layers_of, recomputed_layers, recomputing
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import policy_gradient
from pytest_entropy.probe.memory.live_bytes import LiveBytes
from tests import tiny


def same(found: Any, expected: Any) -> None:
    """Equal up to rotary angles, which the model computes in float32: relative to the largest number."""
    found, expected = (torch.as_tensor(x, dtype=torch.float64) for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.fixture(scope="module", params=["lora", pytest.param("dora", marks=pytest.mark.slow), "full"])
def policy(request: pytest.FixtureRequest) -> Policy:
    model = tiny.qwen2(layers=3)
    if request.param != "full":
        model = tiny.lora(model, use_dora=request.param == "dora")
    return tiny.policy(model, dtype=torch.float64)


@pytest.fixture(scope="module")
def rollouts(policy: Policy) -> Rollouts:
    return tiny.sample(policy, tiny.prompts(6))


@pytest.mark.parametrize("threads", [1, 3])
def test_derivatives_and_gradients_are_the_same(policy: Policy, rollouts: Rollouts, threads: int) -> None:
    u, weights = tiny.direction(policy), torch.ones(6, 4, dtype=torch.float64)
    found = [
        (
            directional_derivatives(p, rollouts, u, ["rao_blackwell", "score"], chunk_tokens=90, threads=threads),
            policy_gradient(p, rollouts, weights, chunk_tokens=90),
        )
        for p in (policy, recomputing(policy))
    ]
    for name in ("rao_blackwell", "score"):
        same(found[1][0].per_prompt[name], found[0][0].per_prompt[name])
    same(found[1][0].entropies, found[0][0].entropies)
    for name, g in found[0][1].items():
        same(found[1][1][name], g)


def test_a_pass_holds_less(rollouts: Rollouts) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2(hidden=64, layers=8)), eos=())
    long = tiny.sample(policy, [[5] * 4], G=2, limit=100)
    weights, peaks = torch.ones(1, 2, dtype=torch.float64), []
    for p in (policy, recomputing(policy)):
        with LiveBytes() as live:
            policy_gradient(p, long, weights, chunk_tokens=10**6)
        peaks.append(live.peak)
    assert peaks[1] < 0.6 * peaks[0]


def test_the_model_is_as_it_was(policy: Policy, rollouts: Rollouts) -> None:
    before = [dict(vars(layer)) for layer in layers_of(policy.model)]
    assert len(before) == 3
    with recomputed_layers(policy.model), recomputed_layers(policy.model):
        assert all("forward" in vars(layer) for layer in layers_of(policy.model))
    with pytest.raises(ZeroDivisionError), recomputed_layers(policy.model):
        _ = 1 / 0
    policy_gradient(recomputing(policy), rollouts, torch.ones(6, 4, dtype=torch.float64), chunk_tokens=90)
    assert [dict(vars(layer)) for layer in layers_of(policy.model)] == before


def test_a_forward_that_others_have_set_is_put_back(policy: Policy) -> None:
    layer = layers_of(policy.model)[0]
    own = layer.forward
    vars(layer)["forward"] = own
    with recomputed_layers(policy.model):
        assert vars(layer)["forward"] is not own
    assert vars(layer).pop("forward") is own


def test_long_responses_logits_are_made_in_pieces(
    policy: Policy, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_entropy.policy import teacher_forcing

    with torch.no_grad():
        whole = recomputing(policy).teacher_force(rollouts)
        monkeypatch.setattr(teacher_forcing, "TABLE_ENTRIES", 2 * 24 * 60)
        pieces = recomputing(policy).teacher_force(rollouts)
        alone = replace(policy, share_prompt=False).teacher_force(rollouts)
    same(pieces.log_probs, whole.log_probs)
    same(alone.entropies, whole.entropies)
