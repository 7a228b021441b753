"""Check before loading that the weights have every layer and the output layer that ``config.json`` asks for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.whole_model import model_config, model_directory
from pytest_entropy.errors import UsageError

_COUNTS = ("num_hidden_layers", "n_layer")
_LAYER = re.compile(r"(?P<stack>.*?(?:layers|h|blocks))\.(?P<number>\d+)\.")
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


def require_all_weights(files: CheckpointFiles) -> None:
    """Reject weights without one of the model's layers, or without an output layer that is not tied to the embedding.

    transformers would initialise what is missing at random.  Models of several parts are left to loading, as is
    whatever is missing within a layer.

    Args:
        files: paths of the checkpoint.

    Raises:
        UsageError: names the layer or the tensor.
    """
    directory, config = model_directory(files), model_config(files)
    if directory is None or any(key.endswith("_config") and isinstance(part, dict) for key, part in config.items()):
        return
    shapes = WeightsFile(directory).shapes()
    missing = _missing_layer(shapes, config) or _missing_head(shapes, config)
    if missing:
        raise UsageError(
            f"model {directory}: its weights lack {missing}, which its config.json asks for; transformers would "
            "initialise it at random: copy all files of the model, or correct config.json"
        )


def _missing_layer(keys: Iterable[str], config: Mapping[str, Any]) -> str | None:
    """The first layer without a tensor, in words; layers beyond the configured ones are not loaded."""
    count = next((config[key] for key in _COUNTS if type(config.get(key)) is int), 0)
    stacks: dict[str, set[int]] = defaultdict(set)
    for key in keys:
        if found := _LAYER.match(key):
            stacks[found["stack"]].add(int(found["number"]))
    if len(stacks) != 1:
        return None
    ((stack, numbers),) = stacks.items()
    return next((f"layer {n} of {count} ({stack}.{n})" for n in range(count) if n not in numbers), None)


def _missing_head(shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> str | None:
    if config.get("tie_word_embeddings") is not False or _EMBEDDING not in shapes:
        return None
    alike = [key for key, shape in shapes.items() if shape == shapes[_EMBEDDING] and key != _EMBEDDING]
    return None if alike or _HEAD in shapes else f"the output layer {_HEAD} (tie_word_embeddings is false)"
