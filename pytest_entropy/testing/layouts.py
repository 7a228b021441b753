"""Conformance of a checkpoint layout: it recognises its own directories, and leaves others alone."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.checkpoints.layouts import known_layouts
from pytest_entropy.checkpoints.layouts.base import Layout
from pytest_entropy.registry import get


def check_layout(name: str, directory: Path | str | None = None, *, base_model: str | None = None) -> None:
    """Check the checkpoint layout of that name in the registry.

    It must say what it is called, what it expects and when it is tried, under a name that no other layout has, and
    take an empty directory for none of its own.  A ``directory`` of this layout must be recognised as such before all
    others, load, and have an optimizer state for every parameter that trains.

    Args:
        name: in the registry.
        directory: a checkpoint of this layout, made as :func:`pytest_entropy.testing.tiny.save_seed_checkpoint` makes
            one.  Without it only what needs no checkpoint is checked.
        base_model: of an adapter that does not name its own.

    Raises:
        AssertionError: says which of these does not hold.
        UsageError: the directory is refused.
    """
    layout: Any = get("layouts", name, Layout)  # type: ignore[type-abstract]
    assert layout.name, f"layout {name} does not say what it is called"
    assert layout.expects, f"layout {name} does not say what it expects"
    assert isinstance(layout.order, int), f"layout {name}: order is {layout.order!r}, expected a whole number"
    others = [other.name for other in known_layouts() if other is not layout]
    assert layout.name not in others, f"layout {name}: another layout is called {layout.name!r}, too"
    with TemporaryDirectory() as empty:
        assert layout.find(Path(empty)) is None, f"layout {name} takes an empty directory for its own"
    if directory is None:
        return
    files = find_checkpoint(directory, base_model)
    assert files.layout == layout.name, (
        f"layout {name}: its checkpoint {directory} is taken for {files.layout!r}, which is tried first; give it an "
        "order below that layout's"
    )
    checkpoint = load_checkpoint(directory, base_model=base_model)
    assert set(checkpoint.optimizer) == set(checkpoint.policy.trainable), (
        f"layout {name}: optimizer states and trainable parameters are not of the same names"
    )
    trainable = list(checkpoint.policy.trainable)
    count = len(checkpoint.optimizer)
    order = layout.parameter_order(checkpoint.policy.model, trainable, [{"params": list(range(count))}])
    assert len(set(order)) == len(order), f"layout {name}: parameter_order names a parameter twice"
    assert set(trainable) <= set(order), f"layout {name}: parameter_order leaves out parameters that train"
