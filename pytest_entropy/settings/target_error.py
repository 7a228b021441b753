"""The standard error that a measurement shall reach: a size in the unit of delta_h1, or a share of it such as 10%."""

from __future__ import annotations

import math


def target_error(value: object) -> str | None:
    """A target as it is written in the configuration: ``0.001``, or ``10%``; None for none.

    >>> target_error(0.001), target_error(" 10 % "), target_error(None)
    ('0.001', '10%', None)

    Args:
        value: a number, or a text with a number and at most a percent sign.

    Raises:
        ValueError: it is neither, or not positive.
    """
    if value is None:
        return None
    text = str(value).strip()
    number, share = text.removesuffix("%").strip(), text.endswith("%")
    try:
        size = float("" if isinstance(value, bool) else number)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise ValueError("must be a positive error such as 0.001, or a share of δH₁ such as 10%")
    return f"{size:g}%" if share else f"{size:g}"


def allowed_error(target: str, value: float) -> float:
    """The largest standard error that a target allows, in the unit of delta_h1.

    >>> allowed_error("0.001", -0.03), allowed_error("10%", -0.03)
    (0.001, 0.003)

    Args:
        target: by :func:`target_error`.
        value: delta_h1.
    """
    size = float(target.removesuffix("%"))
    return size / 100 * abs(value) if target.endswith("%") else size
