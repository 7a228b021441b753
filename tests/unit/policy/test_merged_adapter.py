"""A merged adapter computes what the adapter does, leaves nothing behind, and merges no more than it may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytest_entropy.errors import RunError
from pytest_entropy.policy import merged_adapter
from pytest_entropy.policy.merged_adapter import merged, merged_layer
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.derivatives.attached import attached
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.oracles.hooks import verify_tangent
from pytest_entropy.probe.oracles.untouched_state import UntouchedState
from tests import tiny


def policy(dtype: torch.dtype = torch.float64, **lora: Any) -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2(), **lora), dtype=dtype)


def merged_layers(one: Policy) -> int:
    with merged(one):
        return sum(merged_layer(module) is not None for module in one.model.modules())


def derivatives(one: Policy, names: list[str], **more: Any) -> dict[str, np.ndarray]:
    rollouts = tiny.sample(one, tiny.prompts(5), G=3)
    return directional_derivatives(one, rollouts, tiny.direction(one), names, chunk_tokens=60, **more).per_prompt


@pytest.mark.parametrize("lora", [{}, {"use_rslora": True}, {"target_modules": ["q_proj", "down_proj"]}])
def test_it_scores_and_differentiates_as_the_adapter_does(lora: dict[str, Any]) -> None:
    one, names = policy(**lora), ["rao_blackwell", "reinforce_loo", "score"]
    rollouts = tiny.sample(one, tiny.prompts(5), G=3)
    plain, scores = derivatives(one, names), one.teacher_force(rollouts)
    with merged(one):
        fast, scored = derivatives(one, names), one.teacher_force(rollouts)
        assert any(merged_layer(module) for module in one.model.modules())
    # This architecture's norms compute in float32.
    torch.testing.assert_close(scored.log_probs, scores.log_probs, rtol=0, atol=1e-6)
    for name in names:
        assert fast[name] == pytest.approx(plain[name], abs=1e-6 * np.abs(plain[name]).max())
    assert verify_tangent(one, rollouts, tiny.direction(one), "rao_blackwell") < 1e-5


def test_several_directions_go_along(request: pytest.FixtureRequest) -> None:
    one = policy()
    rollouts, u = tiny.sample(one, tiny.prompts(4), G=2), tiny.direction(one)
    part = {name: (t if "lora_A" in name else torch.zeros_like(t)) for name, t in u.items()}
    with merged(one):
        found = directional_derivatives(one, rollouts, u, ["score"], chunk_tokens=50, also=[part])
    plain = directional_derivatives(one, rollouts, part, ["score"], chunk_tokens=50).per_prompt["score"]
    assert found.along["score"][0] == pytest.approx(plain, abs=1e-6 * np.abs(plain).max())


def test_nothing_is_left_behind_and_no_bit_changes() -> None:
    one = policy(torch.float32)
    before = UntouchedState.of(one, {})
    bits = {name: p.detach().clone() for name, p in one.model.named_parameters()}
    for failing in (False, True):
        try:
            with merged(one):
                tiny.sample(one, tiny.prompts(3))
                if failing:
                    raise KeyError
        except KeyError:
            pass
        assert before.changes(UntouchedState.of(one, {})) == []
        assert not any(merged_layer(module) for module in one.model.modules())
    assert all(torch.equal(p, bits[name]) for name, p in one.model.named_parameters())
    with merged(one):
        with merged(one):
            inside = UntouchedState.of(one, {})
        assert before.changes(inside) != []
        assert inside.changes(UntouchedState.of(one, {})) == []
    with merged(one):
        assert before.changes(UntouchedState.of(one, {})) != []


def with_hook(one: Policy) -> Policy:
    for module in one.model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda module, args, out: out)
    return one


def in_bfloat16() -> Policy:
    one = policy(torch.bfloat16)
    assert next(one.model.parameters()).dtype == torch.bfloat16
    return one


def with_two() -> Policy:
    one = policy()
    for module in one.model.modules():
        if hasattr(module, "update_layer"):
            adapters: Any = module.lora_A
            adapters["other"] = nn.Linear(2, 2, bias=False)
    return one


OTHERS: dict[str, Callable[[], Policy]] = {
    "DoRA": lambda: policy(use_dora=True),
    "bfloat16": in_bfloat16,
    "hooks": lambda: with_hook(policy()),
    "two adapters": with_two,
    "a full fine-tune": lambda: tiny.policy(tiny.qwen2(), dtype=torch.float64),
}


@pytest.mark.parametrize("kind", list(OTHERS))
def test_what_is_not_plain_stays_as_it_is(kind: str) -> None:
    assert merged_layers(policy()) > 0
    assert merged_layers(OTHERS[kind]()) == 0


def test_a_layer_whose_bias_is_trained_stays_as_it_is() -> None:
    one, names = policy(bias="lora_only"), ["rao_blackwell", "score"]
    with merged(one):
        layers: list[Any] = [module for module in one.model.modules() if hasattr(module, "base_layer")]
        for layer in layers:
            assert (merged_layer(layer) is None) == (layer.base_layer.bias is not None)
        fast = derivatives(one, names)
    plain = derivatives(one, names)
    for name in names:
        assert fast[name] == pytest.approx(plain[name], abs=1e-6 * np.abs(plain[name]).max())


def test_large_weights_are_not_held_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    one = policy()
    monkeypatch.setattr(merged_adapter, "LARGEST", 1000)
    assert merged_layers(one) == 0


def test_a_merged_adapter_has_no_gradient() -> None:
    one = policy()
    u = tiny.direction(one)
    with merged(one), pytest.raises(RuntimeError, match="no gradient"), attached(one, [u], slope=True, gradients=True):
        pass


def test_a_direction_attached_before_is_followed_all_the_same() -> None:
    one = policy()
    plain = derivatives(one, ["score"])["score"]
    u = tiny.direction(one)
    rollouts = tiny.sample(one, tiny.prompts(5), G=3)
    with attached(one, [u], slope=True), merged(one):
        found = directional_derivatives(one, rollouts, u, ["score"], chunk_tokens=60)
    assert found.per_prompt["score"] == pytest.approx(plain, rel=1e-9)


def test_the_self_check_sees_a_merge_that_is_not_the_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    one = policy()
    rollouts, u, real = tiny.sample(one, tiny.prompts(3)), tiny.direction(one), merged_adapter._merge

    def stale(module: Any) -> merged_adapter.MergedLayer:
        found = real(module)
        # Its weight lacks the adapter.
        return merged_adapter.MergedLayer(
            found.down, found.up, found.scaling, module.base_layer.weight.detach(), found.bias
        )

    monkeypatch.setattr(merged_adapter, "_merge", stale)
    with pytest.raises(RunError, match="off by"):
        verify_tangent(one, rollouts, u, "rao_blackwell")
