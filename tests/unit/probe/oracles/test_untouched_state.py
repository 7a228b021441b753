"""What a run must leave as it was: each kind of state, changed, is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.optimizers.state import AdamWState, ParameterState
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.oracles.untouched_state import UntouchedState, process_changes, process_state
from tests import tiny

Q = "model.layers.0.self_attn.q_proj"


def state_of(policy: Policy) -> AdamWState:
    return {
        name: ParameterState(3, torch.ones(p.shape), torch.ones(p.shape), 1e-3, (0.9, 0.999), 1e-8, 0.0)
        for name, p in policy.trainable.items()
    }


def one_bit(policy: Policy) -> None:
    with torch.no_grad():
        weight = policy.trainable[f"{Q}.lora_A.default.weight"].view(-1)
        weight[-1] = torch.nextafter(weight[-1], torch.tensor(9.0))


def swapped(policy: Policy) -> None:
    with torch.no_grad():
        weight = policy.trainable[f"{Q}.lora_A.default.weight"]
        weight.copy_(weight.flip(0))


def module(policy: Policy, name: str) -> Any:
    return policy.model.get_submodule(name)


CHANGES: dict[str, tuple[Callable[[Policy], Any], str]] = {
    "a weight off by one bit": (one_bit, "weights not restored: 1"),
    "rows in another order": (swapped, "weights not restored: 1"),
    "a base weight": (
        lambda p: p.model.get_parameter(f"{Q}.base_layer.weight").data.mul_(1.01), "weights not restored"
    ),
    "a buffer": (lambda p: module(p, "model.rotary_emb").inv_freq.mul_(0.9), "inv_freq"),
    "a hook": (lambda p: p.model.get_submodule(Q).register_forward_hook(lambda *a: None), Q),
    "training mode": (lambda p: p.model.get_submodule(f"{Q}.lora_dropout").train(), "training mode"),
    "a scaling": (lambda p: module(p, Q).scaling.update(default=9.0), "scaling"),
    "an attention's scale": (
        lambda p: setattr(p.model.get_submodule("model.layers.1.self_attn"), "scaling", 0.1), "layers.1.self_attn"
    ),
    "an adapter merged": (lambda p: module(p, Q).merge(), "adapters left"),
    "a gradient kept": (
        lambda p: setattr(p.trainable[f"{Q}.lora_A.default.weight"], "grad", torch.zeros(4, 32)), "gradients left"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_left_changed_is_named(name: str) -> None:
    change, words = CHANGES[name]
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    before = UntouchedState.of(policy, state_of(policy))
    assert before.changes(UntouchedState.of(policy, state_of(policy))) == []
    change(policy)
    assert words in "; ".join(before.changes(UntouchedState.of(policy, state_of(policy))))


def test_an_optimizer_that_went_on_is_named() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    state, name = dict(state_of(policy)), f"{Q}.lora_A.default.weight"
    before = UntouchedState.of(policy, state)
    for changed in (replace(state[name], step=4), replace(state[name], exp_avg_sq=2 * state[name].exp_avg_sq)):
        (found,) = before.changes(UntouchedState.of(policy, {**state, name: changed}))
        assert found.startswith("the optimizer's state changed: 1, ")
        assert name in found


def test_what_is_left_changed_of_the_process_is_named() -> None:
    before = process_state()
    threads = torch.get_num_threads()
    try:
        torch.rand(1)
        np.random.rand()
        torch.set_grad_enabled(False)
        torch.set_num_threads(threads + 1)
        found = process_changes(before, process_state())
    finally:
        torch.set_grad_enabled(True)
        torch.set_num_threads(threads)
    assert found == [
        "torch's random state changed", "numpy's random state changed", "gradient mode changed",
        "threads of an operation changed",
    ]  # fmt: skip
    assert process_changes(before, before) == []
