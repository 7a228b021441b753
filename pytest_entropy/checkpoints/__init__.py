"""A directory on disk to a policy with its optimizer state.

``find_checkpoint`` looks at files only; ``load_checkpoint`` loads.  Importing this package does not import
torch: that happens in :func:`load_checkpoint`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.checkpoints.files import CheckpointFiles, find_checkpoint

if TYPE_CHECKING:
    from pytest_entropy.checkpoints.loading import Checkpoint

__all__ = ["Checkpoint", "CheckpointFiles", "find_checkpoint", "load_checkpoint", "resolve"]

DEMO = "demo"


def resolve(checkpoint: str) -> str:
    """The path a ``--checkpoint`` value means; ``demo`` is the bundled one."""
    if checkpoint == DEMO:
        from pytest_entropy.checkpoints.demo import CHECKPOINT

        return str(CHECKPOINT)
    return checkpoint


def load_checkpoint(
    path: str | Path, *, base_model: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> Checkpoint:
    """Load policy and optimizer state; see :func:`pytest_entropy.checkpoints.loading.load`."""
    from pytest_entropy.checkpoints.loading import load

    return load(find_checkpoint(resolve(str(path)), base_model), device=device, dtype=dtype)


def __getattr__(name: str) -> Any:
    if name == "Checkpoint":
        from pytest_entropy.checkpoints.loading import Checkpoint

        return Checkpoint
    raise AttributeError(name)
