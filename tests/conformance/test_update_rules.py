"""Every update rule of the registry: the step of a real torch optimizer, and linear where it says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_entropy import registry
from pytest_entropy.optimizers.update_rules import update_rule
from pytest_entropy.testing import check_update_rule


@pytest.mark.parametrize("name", registry.names("update_rules"))
def test_update_rule(name):
    check_update_rule(name)


@pytest.fixture
def added():
    def add(of, **changes):
        registry.add("update_rules", "wrong", replace(update_rule(of), **changes))

    yield add
    registry.forget("update_rules", "wrong")


def larger(gradient, state, parameters, *, max_grad_norm=None):
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
def test_what_is_wrong_is_said(added, of, changes, says):
    added(of, **changes)
    with pytest.raises(AssertionError, match=says):
        check_update_rule("wrong")


def test_a_rule_without_its_oracle_cannot_be_made():
    with pytest.raises(TypeError, match="needs a torch_step"):
        replace(update_rule("sgd"), torch_step=None)
    with pytest.raises(TypeError, match="only a linear rule"):
        replace(update_rule("sgd"), linear=False)
