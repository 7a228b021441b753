"""The arithmetic of the audit: means, spreads and weighted least squares in plain loops, by their definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Relative; two summation orders of float64 numbers agree far more closely.
ROUNDING = 1e-8


def mean(values: Sequence[float]) -> float:
    """The sum over the number."""
    return math.fsum(values) / len(values)


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation with ddof = 1; None for a single value."""
    if len(values) < 2:
        return None
    return math.sqrt(_squares(values) / (len(values) - 1))


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of the mean of independent values; None for a single value."""
    sd = spread(values)
    return None if sd is None else sd / math.sqrt(len(values))


def spread_within(groups: Sequence[Sequence[float]]) -> float | None:
    """The standard deviation of values from the mean of their group; None without a degree of freedom.

    Args:
        groups: the values of each.
    """
    freedom = sum(map(len, groups)) - len(groups)
    squares = math.fsum(_squares(values) for values in groups)
    return math.sqrt(squares / freedom) if freedom > 0 else None


def _squares(values: Sequence[float]) -> float:
    centre = mean(values)
    return math.fsum((value - centre) ** 2 for value in values)


def size(values: Sequence[float]) -> float:
    """Mean absolute value: differences from it by rounding are relative to it."""
    return math.fsum(map(abs, values)) / len(values) if values else math.nan


def largest_allowed(target: str, value: float | None) -> float | None:
    """The largest error that a target such as ``0.001`` or ``10%`` allows of a value; None where none is known."""
    number = float(target.rstrip("%"))
    if not target.endswith("%"):
        return number
    return None if value is None else number * abs(value) / 100


def noise_over_signal(value: float | None, se: float | None) -> tuple[float | None, str]:
    """|se / value| and its word: below 0.1 good, below 0.2 ok, else poor.

    Args:
        value, se: a number and its standard error; None where it is not known.
    """
    if value is None or se is None or value == 0 or not math.isfinite(value) or not math.isfinite(se):
        return None, "poor"
    ratio = abs(se / value)
    if ratio < 0.1:
        return ratio, "good"
    return ratio, "ok" if ratio < 0.2 else "poor"


def line_through(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float] | None:
    """(a, b) that minimise sum_i B_i (y_i - a - b / B_i)^2, from the two normal equations; None for a single B.

    Args:
        sizes: B_i.
        values: y_i.
    """
    if len(set(sizes)) < 2:
        return None
    # With x = 1/B and weight B the sums of w, w x and w x^2 are those of B, 1 and 1/B.
    w, wx, wxx = math.fsum(sizes), float(len(sizes)), math.fsum(1 / B for B in sizes)
    wy, wxy = math.fsum(B * y for B, y in zip(sizes, values, strict=True)), math.fsum(values)
    determinant = w * wxx - wx * wx
    return (wxx * wy - wx * wxy) / determinant, (w * wxy - wx * wy) / determinant


def agree(one: float | None, other: float | None, *, within: float = 0.0) -> bool:
    """Whether two numbers are equal up to rounding; a missing number equals a missing number only.

    Args:
        one, other: the numbers.
        within: a difference that is tolerated besides rounding, in their unit.
    """
    if one is None or other is None:
        return one is other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    if math.isinf(one) or math.isinf(other):
        return one == other
    return abs(one - other) <= within + ROUNDING * max(abs(one), abs(other))
