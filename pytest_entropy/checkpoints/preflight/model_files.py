"""Check what a model directory declares (JSON, sizes, dtypes) against its tensors, before any library builds it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import read_object
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.text_settings import text_settings
from pytest_entropy.errors import UsageError

# JSON that libraries parse in full in Python; tokenizer.json and vocabularies are large, and a Rust library reads them.
_PARSED = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# Types of weights, as safetensors spells them.
_FLOATING = ("F32", "F64", "BF16", "F16")
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
    "n_embd", "n_head",
)  # fmt: skip
# Declared tensors may be this many times larger than the largest one: embeddings can be narrower than the model.
_LARGER = 4


def screen_model(directory: Path) -> None:
    """Reject a model directory whose declarations do not fit its weights.

    Raises:
        UsageError: JSON is too large, too deep or broken; more layers or larger ones are declared than the tensors
            allow; weights are quantised; the architecture needs code of its own.
    """
    for name in _PARSED:
        if (directory / name).is_file():
            read_object(directory / name)
    config = read_object(directory / "config.json")
    text = text_settings(config)
    tensors = len(WeightsFile(directory).shapes())
    for key in _LAYERS:
        layers = text.get(key, 0)
        if not isinstance(layers, int) or isinstance(layers, bool) or not 0 <= layers <= max(tensors, 1):
            raise UsageError(
                f"{directory / 'config.json'}: {key} is {quoted(layers)}, the weights hold {tensors} tensors"
            )
    _require_real_sizes(directory, text)
    require_floating(directory)
    hub = [value for key, value in _nested(config) if key.endswith("_implementation") and "/" in value]
    if hub:
        raise UsageError(
            f"{directory / 'config.json'}: it asks for {quoted(hub[0])}, code from a hub, as an implementation of its "
            "layers, which is never run; remove that key"
        )
    code = config.get("auto_map")
    if code and not _built_in(config.get("model_type")):
        raise UsageError(
            f"{directory / 'config.json'}: its architecture {quoted(config.get('model_type'))} comes with code of its "
            "own (auto_map), which is never run; use a transformers version that has the architecture built in"
        )


def _require_real_sizes(directory: Path, config: Mapping[str, Any]) -> None:
    """Reject sizes that are not positive integers or are too large for the tensors; a library would allocate them."""
    where = directory / "config.json"
    for key in _SIZES:
        size = config.get(key)
        # Some architectures leave a size out (null) or give one per layer (a list).
        if size is not None and not isinstance(size, list) and (type(size) is not int or size < 1):
            raise UsageError(f"{where}: {key} is {quoted(size)}, expected a positive whole number")
    largest = max((math.prod(shape) for shape in WeightsFile(directory).shapes().values()), default=0)
    width = config.get("hidden_size")
    for key in ("vocab_size", "intermediate_size"):
        size = config.get(key)
        if type(size) is int and type(width) is int and size * width > _LARGER * largest:
            raise UsageError(
                f"{where}: {key} {quoted(size)} x hidden_size {quoted(width)} is far more than the largest tensor of "
                f"the weights holds ({largest} numbers): weights of another model, or a damaged declaration"
            )
    if config.get("quantization_config"):
        raise UsageError(
            f"{where}: the weights are quantised (quantization_config); the probe differentiates a model in float32. "
            "Name the same model unquantised with --base-model, or save a dequantised copy (model.dequantize())"
        )


def require_floating(directory: Path) -> None:
    """Reject weights stored as integers, in 8 bits or as complex numbers, which loading would silently cast.

    Raises:
        UsageError: names the tensor and its dtype.
    """
    weights = WeightsFile(directory)
    # Masks and the like are stored as booleans or integers beside the weights.
    for key in (key for key in weights if key.endswith("weight")):
        if weights.dtype(key) not in _FLOATING:
            raise UsageError(
                f"{directory}: {quoted(key)} is stored as {weights.dtype(key)}, not as {', '.join(_FLOATING)}; "
                "save a dequantised copy, or name the same model unquantised with --base-model"
            )


def _nested(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested objects, with the outermost ``…_implementation`` key above it, else its own key."""
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from _nested(item, key if key.endswith("_implementation") else inner)
    elif isinstance(value, str):
        yield key, value


def _built_in(model_type: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def quoted(value: Any) -> str:
    """A value from a stranger's file, as a message may quote it: at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
