"""Registered rewards by name: the built-in ones and those of installed packages."""

from __future__ import annotations

from typing import Any

from pytest_entropy import registry
from pytest_entropy.rewards.builtin.base import NamedReward


def named_rewards() -> dict[str, NamedReward]:
    """All registered rewards by name, built-in ones first.

    Raises:
        UsageError: an installed reward cannot be imported, or is not a :class:`NamedReward`.
    """
    return {name: registry.get("rewards", name, NamedReward) for name in registry.names("rewards")}


def named(function: Any) -> NamedReward | None:
    """The registered reward with this ``function``, None if it is not registered."""
    return next((reward for reward in named_rewards().values() if reward.function is function), None)
