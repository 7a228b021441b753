"""The totals at theta that the sweep starts from are, bit by bit, those of a pass without derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.policy.logits import TeacherForced
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.diagnostics.finite_steps import totals_at_theta
from pytest_entropy.probe.diagnostics.importance_sampling import sequence_totals
from tests import tiny

MODELS: dict[str, Callable[[], Any]] = {
    "lora": lambda: tiny.lora(tiny.qwen2()),
    "dora": lambda: tiny.lora(tiny.qwen2(), use_dora=True),
    "full fine-tune": lambda: tiny.qwen2(),
    "modules to save": lambda: tiny.lora(tiny.qwen2(tie_word_embeddings=False), modules_to_save=["lm_head"]),
}


@pytest.mark.parametrize("kind", list(MODELS))
@pytest.mark.parametrize("gradient_of", [None, "score"])
def test_no_step_is_no_change(kind: str, gradient_of: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy(MODELS[kind]())
    rollouts, u = tiny.sample(policy, tiny.prompts(9)), tiny.direction(policy)
    names = ["rao_blackwell", "score"]
    found = directional_derivatives(policy, rollouts, u, names, chunk_tokens=100, gradient_of=gradient_of)
    expected = sequence_totals(policy, rollouts, chunk_tokens=100)
    scored: list[Rollouts] = []
    score = Policy.teacher_force

    def counted(self: Policy, part: Rollouts, ranks: torch.Tensor | None = None) -> TeacherForced:
        scored.append(part)
        return score(self, part, ranks)

    monkeypatch.setattr(Policy, "teacher_force", counted)
    before = totals_at_theta(policy, rollouts, found, chunk_tokens=100, threads=2)
    np.testing.assert_array_equal(before.sequence, expected.sequence)
    np.testing.assert_array_equal(before.nats, expected.nats)
    assert bool(scored) == (kind in ("full fine-tune", "modules to save"))
