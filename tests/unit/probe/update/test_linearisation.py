"""du/dg by automatic differentiation against finite differences and against the linear rules' own formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.probe.parameter_vectors import inner
from pytest_entropy.probe.update.linearisation import Linearisation

SHAPES = {"a": (3, 4), "b": (5,)}


def tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}


def state(**changes: Any) -> dict[str, ParameterState]:
    m, v = tensors(1), tensors(2)
    options: dict[str, Any] = {"step": 7, "lr": 1e-3, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, **changes}
    return {name: ParameterState(exp_avg=m[name], exp_avg_sq=v[name].square(), **options) for name in SHAPES}


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
@pytest.mark.parametrize("rule", ["preconditioned", "adamw", "sgd"])
def test_both_ways_equal_finite_differences(rule: str, clip: float | None) -> None:
    g, along, covector, theta, h = tensors(0), tensors(3), tensors(4), tensors(5), 1e-6
    line = Linearisation(rule, g, state(), theta, clip)
    ahead, behind = (
        update_direction(rule, {n: g[n] + sign * h * along[n] for n in g}, state(), theta, max_grad_norm=clip)
        for sign in (1, -1)
    )
    moved = {n: (ahead[n] - behind[n]) / (2 * h) for n in g}
    pushed = line.pushforward(along)
    for name in g:
        assert (pushed[name] - moved[name]).norm() <= 1e-6 * moved[name].norm()
    assert inner(line.pullback(covector), along) == pytest.approx(inner(covector, moved), rel=1e-6)


def test_linear_rules_do_not_depend_on_where() -> None:
    at_zero = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    covector, theta = tensors(4), tensors(5)
    for rule in ("preconditioned", "sgd"):
        here = Linearisation(rule, tensors(0), state(), theta).pullback(covector)
        there = Linearisation(rule, at_zero, state(), theta).pullback(covector)
        assert all(torch.equal(here[name], there[name]) for name in here)


def test_a_parameter_that_never_moved_has_a_finite_derivative() -> None:
    """m = v = g = 0, an embedding row of a token never seen: du/dg is -(1 - beta1) / (1 - beta1^t) / eps."""
    zero = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    still = {
        name: ParameterState(
            step=7, exp_avg=zero[name], exp_avg_sq=zero[name], lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.0
        )
        for name in SHAPES
    }
    covector = tensors(4)
    pulled = Linearisation("adamw", zero, still, tensors(5), 1.0).pullback(covector)
    factor = -(1 - 0.8) / (1 - 0.8**8) / 1e-6
    for name in SHAPES:
        torch.testing.assert_close(pulled[name], factor * covector[name])
