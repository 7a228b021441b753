"""The largest of several discrepancies, which is not known where one of them is not."""

from __future__ import annotations

import math
from collections.abc import Iterable


def largest(values: Iterable[float]) -> float:
    """The largest value; NaN if any is NaN, which ``max`` drops or keeps by its place.

    >>> largest([0.1, 0.3]), largest([0.1, math.nan, 0.3]), max([0.1, math.nan, 0.3])
    (0.3, nan, 0.3)

    Raises:
        ValueError: no values: nothing was compared.
    """
    found = list(values)
    if not found:
        raise ValueError("no discrepancy to take the largest of: nothing was compared")
    return math.nan if any(math.isnan(value) for value in found) else max(found)
