"""Rewards that have a name: built-in ones and those of installed packages."""

from __future__ import annotations

from typing import Any

from pytest_entropy import registry
from pytest_entropy.rewards.builtin.base import NamedReward


def named_rewards() -> dict[str, NamedReward]:
    """All rewards by name, built-in ones first.

    Raises:
        UsageError: an installed one that cannot be imported, or is none.
    """
    return {name: registry.get("rewards", name, NamedReward) for name in registry.names("rewards")}


def named(function: Any) -> NamedReward | None:
    """The reward with a name whose function this is, None if it has none."""
    return next((reward for reward in named_rewards().values() if reward.function is function), None)
