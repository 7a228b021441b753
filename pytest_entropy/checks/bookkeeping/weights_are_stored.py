"""The policy's weights are those in the weights file."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import read_again

CHECK = read_again(
    "weights_are_stored",
    "the policy's weights are those in the safetensors file, after every run",
    "weights that are not those stored: left at their initial values, transposed, or not restored after a step",
    "weights",
)
