"""The update direction against real torch optimizers."""

from __future__ import annotations

import pytest
import torch

from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.update_rules import update_direction

SHAPES = {"a": (3, 4), "b": (5,)}


def trained(
    decay: tuple[float, float] = (0.01, 0.1),
    rates: tuple[float, float] = (1e-2, 1e-2),
    dtype: torch.dtype = torch.float64,
) -> tuple[dict[str, torch.nn.Parameter], torch.optim.AdamW, dict[str, torch.Tensor]]:
    """Two parameters in two groups after four real AdamW steps."""
    generator = torch.Generator().manual_seed(0)
    parameters = {n: torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for n, s in SHAPES.items()}
    groups = [
        {"params": [p], "weight_decay": wd, "lr": lr}
        for p, wd, lr in zip(parameters.values(), decay, rates, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-6)
    for _ in range(4):
        for p in parameters.values():
            p.grad = torch.randn(p.shape, generator=generator, dtype=dtype)
        optimizer.step()
    gradient = {n: torch.randn(p.shape, generator=generator, dtype=dtype) for n, p in parameters.items()}
    return parameters, optimizer, gradient


def state_of(parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.AdamW) -> dict[str, ParameterState]:
    out = {}
    for (name, p), group in zip(parameters.items(), optimizer.param_groups, strict=True):
        entry = optimizer.state[p]
        out[name] = ParameterState(
            int(entry["step"]), entry["exp_avg"], entry["exp_avg_sq"], group["lr"], group["betas"], group["eps"],
            group["weight_decay"],
        )  # fmt: skip
    return out


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
@pytest.mark.parametrize("rates", [(1e-2, 1e-2), (1e-2, 2e-3)], ids=["one rate", "two rates"])
def test_adamw_equals_a_real_step(clip: float | None, rates: tuple[float, float]) -> None:
    parameters, optimizer, gradient = trained(rates=rates)
    u = update_direction("adamw", gradient, state_of(parameters, optimizer), parameters, max_grad_norm=clip)
    before = {name: p.detach().clone() for name, p in parameters.items()}
    for name, p in parameters.items():
        p.grad = gradient[name].clone()
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), clip)
    optimizer.step()
    for name, p in parameters.items():
        real = (p.detach() - before[name]) / max(rates)
        assert (u[name] - real).norm() <= 1e-6 * real.norm()


def test_preconditioned_is_linear_and_uses_the_stored_moment() -> None:
    parameters, optimizer, gradient = trained()
    state = state_of(parameters, optimizer)
    u = update_direction("preconditioned", gradient, state, parameters)
    twice = update_direction("preconditioned", {n: 2 * g for n, g in gradient.items()}, state, parameters)
    for name, g in gradient.items():
        v_hat = optimizer.state[parameters[name]]["exp_avg_sq"] / (1 - 0.95**4)
        torch.testing.assert_close(u[name], -g / (v_hat.sqrt() + 1e-6))
        torch.testing.assert_close(twice[name], 2 * u[name])


def test_sgd_is_the_negative_gradient() -> None:
    parameters, _, gradient = trained()
    u = update_direction("sgd", gradient, {}, parameters)
    assert all(torch.equal(u[name], -g) for name, g in gradient.items())


def test_momentum_moves_even_without_a_gradient() -> None:
    parameters, optimizer, gradient = trained()
    zero = {name: torch.zeros_like(g) for name, g in gradient.items()}
    u = update_direction("adamw", zero, state_of(parameters, optimizer), parameters)
    assert all(d.norm() > 0 for d in u.values())


def test_bad_input_is_named() -> None:
    parameters, optimizer, gradient = trained()
    state = state_of(parameters, optimizer)
    with pytest.raises(ValueError, match="unknown update rule 'adam'"):
        update_direction("adam", gradient, state, parameters)
    with pytest.raises(ValueError, match="name different parameters, for instance b"):
        update_direction("adamw", gradient, {"a": state["a"]}, parameters)
