"""How many companion reads settings and prompts allow."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pytest_entropy import registry

DEFAULT = "action_value"
# The value of ``batch_config.reads`` by which each update batch chooses how many.
AUTO = "auto"
DEFAULT_READS = 8
# Of the prompts there are, what companions may be at most; the fewest reads of a prompt that gain anything.
LARGEST_SHARE, FEWEST_READS = 0.1, 2
# Of the rows, what may repeat others: E holds no prompt twice, so that its draw is another one than the companions'.
MOST_REPEATED = 0.01


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


def allowed_companions(reads: int, B_E: int, *, distinct: float, rows: int) -> tuple[int, str]:
    """(the companion reads of each prompt that a set of prompts allows, why they are fewer than asked for, in words).

    Args:
        reads: as many as are asked for.
        B_E: the prompts of the largest batch that is measured.
        distinct: different prompts that a batch may draw.
        rows: rows of the set that hold them.
    """
    if distinct < (1 - MOST_REPEATED) * rows:
        return 0, f"{rows - distinct:.0f} of {rows} rows repeat a prompt"
    allowed = int(LARGEST_SHARE * distinct / B_E + 1e-9)
    if allowed >= reads:
        return reads, ""
    why = f"more would be over a tenth of {distinct:.0f} prompts, for B_E {B_E}"
    return (allowed if allowed >= FEWEST_READS else 0), why
