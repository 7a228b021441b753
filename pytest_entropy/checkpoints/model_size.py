"""The number of a model's parameters, from the headers of its weights' files; nothing is loaded."""

from __future__ import annotations

import math

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.whole_model import model_directory
from pytest_entropy.errors import UsageError


def parameters_stored(files: CheckpointFiles) -> int | None:
    """The number of parameters in a model's weights (an adapter's base); None where no file says.

    Torch is not imported.  A base model by its hub id is looked up in the local cache.

    Args:
        files: the checkpoint's files.
    """
    directory = model_directory(files)
    if directory is None:
        return None
    try:
        weights = WeightsFile(directory)
        return sum(math.prod(weights.shape(key)) for key in weights) or None
    except UsageError:
        # Loading the model reports what is wrong with the file.
        return None
