"""Whether settings allow companion reads."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pytest_entropy import registry

DEFAULT = "action_value"


@runtime_checkable
class _Learning(Protocol):
    """The attribute of an estimator that companion reads depend on."""

    learns: bool


def why_no_reads(mode: str, entropy_unit: str, estimator: str) -> str:
    """Why companion reads are not supported, in words; empty where they are.

    Args:
        mode, entropy_unit, estimator: values of the settings of these names.
    """
    if mode == "u_statistic":
        return "mode u_statistic multiplies parts of single prompts"
    if entropy_unit == "token":
        return "entropy_unit token is a ratio of means"
    # The default learns; asking it would import torch while tests are collected.
    if estimator == DEFAULT:
        return ""
    if not registry.get("estimators", estimator, _Learning).learns:  # type: ignore[type-abstract]
        return f"{estimator} learns no action values from U"
    return ""
