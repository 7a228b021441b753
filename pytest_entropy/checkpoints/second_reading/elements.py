"""A few elements of a stored tensor, at places that its name decides, and their difference from a live tensor."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

# Beside the first and the last element.
DRAWN = 16
# The coarsest type of the stored tensor, the live one, and float32, through which libraries load everything.
ROUNDINGS = 4


@dataclass(frozen=True)
class Elements:
    """Some elements of one stored tensor.

    Attributes:
        shape: of the whole tensor.
        places: indices of the elements in the flattened tensor.
        values: the elements.
        rounding: unit roundoff of the stored type.
    """

    shape: tuple[int, ...]
    places: tuple[int, ...]
    values: tuple[float, ...]
    rounding: float

    def difference(self, live: torch.Tensor) -> float:
        """The largest relative difference that rounding does not explain, else 0; 1 for another shape or for NaN."""
        if tuple(live.shape) != self.shape:
            return 1.0
        if not self.places:
            return 0.0
        where = torch.tensor(self.places, device=live.device)
        there = live.detach().reshape(-1)[where].double().cpu().tolist()
        tolerance = ROUNDINGS * max(self.rounding, torch.finfo(live.dtype).eps, torch.finfo(torch.float32).eps)
        gaps = [relative(a, b) for a, b in zip(self.values, there, strict=True)]
        return max((gap for gap in gaps if gap > tolerance), default=0.0)


def relative(stored: float, live: float) -> float:
    """|stored - live| relative to the larger of both; 0 where both are 0, 1 where the difference is not finite."""
    size = max(abs(stored), abs(live))
    gap = abs(stored - live) / size if size else 0.0
    return gap if math.isfinite(gap) else 1.0


def places(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Indices of the elements that are read: the first, the last, and some that depend on the tensor's name."""
    count = math.prod(shape)
    if not count:
        return ()
    drawn = random.Random(hashlib.sha256(name.encode()).digest())
    return tuple(sorted({0, count - 1, *(drawn.randrange(count) for _ in range(DRAWN))}))


def elements(
    name: str, shape: Sequence[int], dtype: torch.dtype, at: Callable[[Sequence[int]], torch.Tensor]
) -> Elements:
    """The elements of a stored tensor at the places of its name.

    Args:
        name: decides the places.
        shape: of the tensor.
        dtype: as stored.
        at: gives the elements at these indices of the flattened tensor.
    """
    where = places(name, shape)
    values = tuple(at(where).double().tolist()) if where else ()
    rounding = torch.finfo(dtype).eps if dtype.is_floating_point else 0.0
    return Elements(tuple(shape), where, values, rounding)
