"""The step of a real optimizer is compared on every tensor, late elements included."""

from __future__ import annotations

import pytest
import torch

from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.probe.oracles import optimizer
from pytest_entropy.probe.oracles.optimizer import optimizer_discrepancy


@pytest.mark.parametrize("rule", ["preconditioned", "adamw", "sgd"])
def test_late_tensors_and_late_elements_are_compared(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "MOST_ELEMENTS", 100)
    random = torch.Generator().manual_seed(0)
    parameters = {name: torch.randn(40, 26, generator=random) for name in ("first", "last")}
    gradient = {name: torch.randn(40, 26, generator=random, dtype=torch.float64) for name in parameters}
    state = {
        name: ParameterState(3, 0.1 * g.float(), g.float() ** 2 + 0.1, 1e-3, (0.9, 0.999), 1e-8, 0.01)
        for name, g in gradient.items()
    }
    u = update_direction(rule, gradient, state, parameters)
    assert optimizer_discrepancy(rule, gradient, state, parameters, u) < 1e-12
    for name, where in (("last", slice(None)), ("last", slice(-11, None)), ("first", slice(500, 511))):
        wrong = u[name].clone()
        wrong.view(-1)[where] *= -1
        assert optimizer_discrepancy(rule, gradient, state, parameters, {**u, name: wrong}) > 0.01
