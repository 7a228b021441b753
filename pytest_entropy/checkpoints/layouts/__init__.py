"""Checkpoint layouts, one file each: how a trainer arranges a directory and numbers its optimizer's parameters."""

from __future__ import annotations

from pytest_entropy import registry
from pytest_entropy.checkpoints.layouts.base import Layout


def known_layouts() -> list[Layout]:
    """All layouts, installed ones included, in the order they are tried: the most specific first.

    Raises:
        UsageError: an installed layout cannot be imported, or is not a :class:`Layout`.
    """
    layouts = [(registry.get("layouts", name, Layout), name) for name in registry.names("layouts")]  # type: ignore[type-abstract]
    return [layout for layout, name in sorted(layouts, key=lambda pair: (pair[0].order, pair[1]))]
