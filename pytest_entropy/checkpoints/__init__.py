"""From a checkpoint directory to a policy with its optimizer state.

``find_checkpoint`` looks at files only; ``load_checkpoint`` loads them.  Importing this package does not import
torch: :func:`load_checkpoint` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.find import find_checkpoint

if TYPE_CHECKING:
    from pytest_entropy.checkpoints.load import Checkpoint
    from pytest_entropy.checkpoints.states.mapping_proof import MappingProof

__all__ = [
    "Checkpoint",
    "CheckpointFiles",
    "MappingProof",
    "find_checkpoint",
    "load_checkpoint",
    "resolve",
    "verify_optimizer_mapping",
]

DEMO = "demo"


def resolve(checkpoint: str) -> str:
    """The path of a ``--checkpoint`` value; ``demo`` is the bundled checkpoint."""
    if checkpoint == DEMO:
        from pytest_entropy.checkpoints.demo import CHECKPOINT

        return str(CHECKPOINT)
    return checkpoint


def load_checkpoint(
    path: str | Path, *, base_model: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> Checkpoint:
    """Load a checkpoint's policy and optimizer state (:func:`pytest_entropy.checkpoints.load.load`).

    Args:
        path: the checkpoint's directory, or ``demo``.
        base_model: directory or hub id of an adapter's base model, in place of the one its configuration names.
        device: cpu, cuda or cuda:N.
        dtype: of the weights; float32, float64, or bfloat16 for an adapter's frozen base.

    Raises:
        UsageError: no checkpoint of a known layout is there, or it cannot be loaded.
    """
    from pytest_entropy.checkpoints.load import load

    return load(find_checkpoint(resolve(str(path)), base_model), device=device, dtype=dtype)


def verify_optimizer_mapping(before: str | Path, after: str | Path, *, base_model: str | None = None) -> MappingProof:
    """Prove, from two consecutive checkpoints, which parameter each optimizer state of the later belongs to.

    Checks theta_{k+1} - theta_k = -lr (wd theta_k + m-hat / (sqrt(v-hat) + eps)) for every parameter, with the
    state stored at k+1; neither gradients nor data are needed (docs/checkpoints.md).

    Args:
        before: checkpoint at step k; only its weights are read.
        after: checkpoint at step k+1.
        base_model: the adapter's base model, as in :func:`load_checkpoint`.

    Returns:
        The relative residual of every parameter's step, and the fitted learning rates.

    Raises:
        UsageError: some states belong to other parameters than those they are mapped to (the message names all of
            them), or a checkpoint cannot be read.
    """
    from pytest_entropy.checkpoints.load import verify

    return verify(resolve(str(before)), find_checkpoint(resolve(str(after)), base_model))


def __getattr__(name: str) -> Any:
    if name == "Checkpoint":
        from pytest_entropy.checkpoints.load import Checkpoint

        return Checkpoint
    if name == "MappingProof":
        from pytest_entropy.checkpoints.states.mapping_proof import MappingProof

        return MappingProof
    raise AttributeError(name)
