"""All that the files of a checkpoint alone can say against loading it."""

from __future__ import annotations

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.architecture import require_known_architecture
from pytest_entropy.checkpoints.preflight.missing_weights import require_all_weights
from pytest_entropy.checkpoints.preflight.screening import screen


def require_loadable(files: CheckpointFiles) -> None:
    """Screen an untrusted checkpoint, then reject one that the installed transformers would not load, or not whole.

    Raises:
        UsageError: declarations and tensors do not fit one another, a file is damaged, the architecture is not known,
            or a layer is missing.
    """
    screen(files)
    require_known_architecture(files)
    require_all_weights(files)
