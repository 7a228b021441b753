"""Conformance of an update rule: equal to a real torch optimizer's step, and linear where it says so."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_entropy.optimizers.state import AdamWState, ParameterState
from pytest_entropy.optimizers.update_rules import update_direction, update_rule
from pytest_entropy.probe.oracles.optimizer import optimizer_discrepancy
from pytest_entropy.probe.parameter_vectors import inner
from pytest_entropy.probe.update.linearisation import Linearisation

TOLERANCE = 1e-9
_SHAPES = {"a": (3, 4), "b": (5,)}


def check_update_rule(name: str) -> None:
    """Check an update rule of that name on two parameters after real AdamW steps, in groups of one rate and of two.

    Its direction must be the step that its ``torch_step`` takes, with clipping and without.  Its derivative's two maps
    must be each other's transposes and the ones of automatic differentiation; where the rule says it is linear, the
    direction must be, too.

    Raises:
        AssertionError: says which of these does not hold, and by how much.
        ValueError: no update rule has this name.
    """
    for rates in ((1e-2, 1e-2), (1e-2, 2e-3)):
        parameters, state = trained_state(rates)
        gradient = _random(1)
        for clip in (None, 0.5):
            direction = update_direction(name, gradient, state, parameters, max_grad_norm=clip)
            gap = optimizer_discrepancy(name, gradient, state, parameters, direction, max_grad_norm=clip)
            assert gap <= TOLERANCE, (
                f"update rule {name}: its direction differs from a real optimizer's step by {gap:.2g} of it "
                f"(rates {rates}, max_grad_norm {clip})"
            )
            _require_derivative(name, Linearisation(name, gradient, state, parameters, clip))
        if update_rule(name).linear:
            _require_linear(name, state, parameters)


def trained_state(rates: tuple[float, float]) -> tuple[dict[str, torch.Tensor], AdamWState]:
    """Two parameters in two groups after four real AdamW steps, and the optimizer's state by name, float64."""
    parameters = {name: torch.nn.Parameter(value) for name, value in _random(0).items()}
    groups = [
        {"params": [p], "weight_decay": decay, "lr": rate}
        for p, decay, rate in zip(parameters.values(), (0.01, 0.1), rates, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-6)
    for step in range(4):
        for name, value in _random(10 + step).items():
            parameters[name].grad = value
        optimizer.step()
    state = {}
    for number, (name, group) in enumerate(zip(parameters, optimizer.param_groups, strict=True)):
        entry = optimizer.state[parameters[name]]
        state[name] = ParameterState(
            step=int(entry["step"]),
            exp_avg=entry["exp_avg"],
            exp_avg_sq=entry["exp_avg_sq"],
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            group=number,
        )
    return {name: p.detach() for name, p in parameters.items()}, state


def _random(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in _SHAPES.items()}


def _require_derivative(name: str, line: Linearisation) -> None:
    def direction(gradient: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return update_direction(name, gradient, line.state, line.parameters, max_grad_norm=line.max_grad_norm)

    x, y, point = _random(2), _random(3), dict(line.gradient)
    pushed, pulled = line.pushforward(y), line.pullback(x)
    for what, own, automatic in (
        ("pushforward", pushed, torch.func.jvp(direction, (point,), (y,))[1]),
        ("pullback", pulled, torch.func.vjp(direction, point)[1](x)[0]),
    ):
        gap = _relative_discrepancy(own, automatic)
        assert gap <= TOLERANCE, f"update rule {name}: its {what} differs from its derivative by {gap:.2g}"
    left, right = inner(x, pushed), inner(pulled, y)
    assert abs(left - right) <= TOLERANCE * (abs(left) + abs(right)), (
        f"update rule {name}: <x, J y> = {left:.6g} and <J^T x, y> = {right:.6g} are to be one number"
    )


def _require_linear(name: str, state: AdamWState, parameters: Mapping[str, torch.Tensor]) -> None:
    x, y = _random(2), _random(3)
    both = update_direction(name, {n: x[n] + 2 * y[n] for n in x}, state, parameters)
    first, second = (update_direction(name, g, state, parameters) for g in (x, y))
    gap = _relative_discrepancy(both, {n: first[n] + 2 * second[n] for n in x})
    assert gap <= TOLERANCE, f"update rule {name} says it is linear in the gradient, and is not: by {gap:.2g}"


def _relative_discrepancy(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> float:
    assert set(found) == set(expected), f"parameters {sorted(found)}, expected {sorted(expected)}"
    size = max(float(value.norm()) for value in expected.values()) or 1.0
    return max(float((found[n] - expected[n]).norm()) for n in expected) / size
