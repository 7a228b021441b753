"""The moments of every parameter are those in the optimizer's file."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import read_again

CHECK = read_again(
    "moments_are_stored",
    "both moments of every parameter are those in the optimizer's file",
    "moments that are not those stored: of another parameter, another step, exchanged, or dequantised wrongly",
    "moments",
)
