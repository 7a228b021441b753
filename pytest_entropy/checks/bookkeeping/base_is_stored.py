"""The frozen weights of an adapter's base are those in the base's files."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import read_again

CHECK = read_again(
    "base_is_stored",
    "the frozen weights under an adapter are those of its base's files, after every run",
    "base weights of another precision or another model, or an adapter merged into them",
    "base_weights",
)
