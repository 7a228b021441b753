"""Every update rule of the registry: the step of a real torch optimizer, and linear where it says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_entropy import registry
from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.update_rules import update_rule
from pytest_entropy.testing import check_update_rule


@pytest.mark.parametrize("name", registry.names("update_rules"))
def test_update_rule(name: str) -> None:
    check_update_rule(name)


@pytest.fixture
def added() -> Iterator[Callable[..., None]]:
    def add(of: str, **changes: Any) -> None:
        registry.add("update_rules", "wrong", replace(update_rule(of), **changes))

    yield add
    registry.forget("update_rules", "wrong")


def larger(
    gradient: dict[str, torch.Tensor],
    state: dict[str, ParameterState],
    parameters: dict[str, torch.Tensor],
    *,
    max_grad_norm: float | None = None,
) -> dict[str, torch.Tensor]:
    right = update_rule("preconditioned").direction(gradient, state, parameters)
    return {name: 1.001 * u for name, u in right.items()}


@pytest.mark.parametrize(
    ("of", "changes", "says"),
    [
        ("preconditioned", {"direction": larger}, "differs from a real optimizer's step by 0.001"),
        ("preconditioned", {"pullback": lambda x, state: x}, "its pullback differs from its derivative"),
        ("preconditioned", {"pushforward": lambda y, state: y}, "its pushforward differs from its derivative"),
        ("adamw", {"linear": True}, "says it is linear in the gradient, and is not"),
    ],
)
def test_what_is_wrong_is_said(
    added: Callable[..., None], of: str, changes: dict[str, Callable[..., object] | bool], says: str
) -> None:
    added(of, **changes)
    with pytest.raises(AssertionError, match=says):
        check_update_rule("wrong")


def test_a_rule_without_its_oracle_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="needs a torch_step"):
        replace(update_rule("sgd"), torch_step=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="only a linear rule"):
        replace(update_rule("sgd"), linear=False)
