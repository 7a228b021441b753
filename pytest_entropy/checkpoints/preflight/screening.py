"""Check the declarations of an untrusted checkpoint against its tensors, before any library builds a model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles, read_object
from pytest_entropy.checkpoints.formats.dcp_metadata import read_description
from pytest_entropy.checkpoints.formats.torch_archive import read_outline, screen_archive
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.states.optimizer_kind import outline, require_adamw
from pytest_entropy.checkpoints.states.parameter_order import live_name
from pytest_entropy.errors import UsageError

# JSON that libraries parse in full in Python; tokenizer.json and vocabularies are large, and a Rust library reads them.
_PARSED = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
# A vocabulary of a quarter of a million words takes some thirty megabytes.
_LARGEST_TOKENIZER = 256 * 2**20
_MAX_TENSORS = 100_000
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# Types of weights, as safetensors spells them.
_FLOATING = ("F32", "F64", "BF16", "F16")
_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
    "n_embd", "n_head",
)  # fmt: skip
# Declared tensors may be this many times larger than the largest one: embeddings can be narrower than the model.
_LARGER = 4
# Keys of adapters that change more than weights, or that name code to import.
_UNSUPPORTED = ("layer_replication", "megatron_config", "alora_invocation_tokens")
# Initialisations that subtract from the base's weights a part that is random or made from data: when an adapter is
# loaded, peft subtracts another part, or none.
_UNREPEATABLE = ("pissa_niter", "corda", "lora_ga")


def screen(files: CheckpointFiles) -> None:
    """Reject a checkpoint whose files show, without being loaded, that it cannot be used; torch is not imported.

    Raises:
        UsageError: declarations do not fit the tensors, a file is damaged or truncated, or the optimizer's file was not
            written by torch, declares more bytes than it holds, references code, or is not AdamW's.
    """
    tensors = 0
    # Directories are screened; a base known by its hub id was downloaded into the cache by the user.
    whole = [Path(files.base)] if files.base is not None else [files.weights]
    for directory in (place for place in {*whole, files.weights} if place.is_dir()):
        _require_files(directory)
    for directory in (place for place in whole if place.is_dir()):
        screen_model(directory)
        _require_small_tokenizer(directory)
        tensors += sum(1 for _ in WeightsFile(directory))
    if files.is_adapter:
        screen_adapter(files.weights)
        if whole[0].is_dir():
            _require_same_sizes(files.weights, whole[0])
        tensors += sum(1 for _ in WeightsFile(files.weights))
        _require_small_tokenizer(files.weights)
    # Three tensors of state and as many of quantisation per parameter; a base in the cache is not counted.
    bound = 8 * tensors if whole[0].is_dir() else _MAX_TENSORS
    if files.optimizer.is_dir():
        description = read_description(files.optimizer, tensors=bound)
        require_adamw(files.optimizer, outline(item.path for item in description))
    else:
        screen_archive(files.optimizer, tensors=bound)
        require_adamw(files.optimizer, read_outline(files.optimizer))
    if files.names is not None:
        read_names(files.names)


def read_names(path: Path) -> list[str]:
    """The optimizer's parameter names in a side file: a list, or an object from index to name.

    Raises:
        UsageError: the file holds neither.
    """
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        record = read_object(path)
    if isinstance(record, dict):
        record = record.get("param_names", record)
    if isinstance(record, dict) and all(key.isdecimal() and len(key) < 20 for key in record):
        record = [record[key] for key in sorted(record, key=int)]
    if not isinstance(record, list) or not all(isinstance(name, str) for name in record):
        raise UsageError(f"{path}: expected a list of parameter names, or an object from index to name")
    return record


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
    tensors = len(WeightsFile(directory).shapes())
    for key in _LAYERS:
        layers = config.get(key, 0)
        if not isinstance(layers, int) or isinstance(layers, bool) or not 0 <= layers <= max(tensors, 1):
            raise UsageError(
                f"{directory / 'config.json'}: {key} is {_short(layers)}, the weights hold {tensors} tensors"
            )
    _require_real_sizes(directory, config)
    _require_floating(directory)
    hub = [value for key, value in _nested(config) if key.endswith("_implementation") and "/" in value]
    if hub:
        raise UsageError(
            f"{directory / 'config.json'}: it asks for {_short(hub[0])}, code from a hub, as an implementation of its "
            "layers, which is never run; remove that key"
        )
    code = config.get("auto_map")
    if code and not _built_in(config.get("model_type")):
        raise UsageError(
            f"{directory / 'config.json'}: its architecture {_short(config.get('model_type'))} comes with code of its "
            "own (auto_map), which is never run; use a transformers version that has the architecture built in"
        )


def _require_real_sizes(directory: Path, config: Mapping[str, Any]) -> None:
    """Reject sizes that are not positive integers or are too large for the tensors; a library would allocate them."""
    where = directory / "config.json"
    for key in _SIZES:
        size = config.get(key)
        # Some architectures leave a size out (null) or give one per layer (a list).
        if size is not None and not isinstance(size, list) and (type(size) is not int or size < 1):
            raise UsageError(f"{where}: {key} is {_short(size)}, expected a positive whole number")
    largest = max((math.prod(shape) for shape in WeightsFile(directory).shapes().values()), default=0)
    width = config.get("hidden_size")
    for key in ("vocab_size", "intermediate_size"):
        size = config.get(key)
        if type(size) is int and type(width) is int and size * width > _LARGER * largest:
            raise UsageError(
                f"{where}: {key} {_short(size)} x hidden_size {_short(width)} is far more than the largest tensor of "
                f"the weights holds ({largest} numbers): weights of another model, or a damaged declaration"
            )
    if config.get("quantization_config"):
        raise UsageError(
            f"{where}: the weights are quantised (quantization_config); the probe differentiates a model in float32. "
            "Name the same model unquantised with --base-model, or save a dequantised copy (model.dequantize())"
        )


def _require_floating(directory: Path) -> None:
    """Reject weights stored as integers, in 8 bits or as complex numbers, which loading would silently cast."""
    weights = WeightsFile(directory)
    # Masks and the like are stored as booleans or integers beside the weights.
    for key in (key for key in weights if key.endswith("weight")):
        if weights.dtype(key) not in _FLOATING:
            raise UsageError(
                f"{directory}: {_short(key)} is stored as {weights.dtype(key)}, not as {', '.join(_FLOATING)}; "
                "save a dequantised copy, or name the same model unquantised with --base-model"
            )


def screen_adapter(directory: Path) -> None:
    """Reject an adapter whose configuration does not fit its tensors.

    Raises:
        UsageError: the adapter is not LoRA, its rank or alpha is invalid or not that of the tensors, or it uses a
            feature that is not supported.
    """
    where = directory / "adapter_config.json"
    config = read_object(where)
    if str(config.get("peft_type", "LORA")).upper() != "LORA":
        raise UsageError(
            f"{where}: adapter of type {_short(config['peft_type'])}; only LoRA (and its kin) is supported"
        )
    for key in _UNSUPPORTED:
        if config.get(key):
            raise UsageError(f"{where}: {key} is not supported; merge the adapter into its base or train without it")
    start = str(config.get("init_lora_weights"))
    if start.lower().startswith(_UNREPEATABLE):
        raise UsageError(
            f"{where}: init_lora_weights {_short(start)} has changed the base model's weights in a way that cannot be "
            "repeated from the base and the adapter. Save the changed base where the adapter was made, with "
            "model.unload().save_pretrained(DIR), set init_lora_weights to true, and give --base-model DIR"
        )
    pattern = config.get("alpha_pattern") or {}
    for alpha in (config.get("lora_alpha", 8), *(pattern.values() if isinstance(pattern, dict) else [pattern])):
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < abs(alpha) < 1e6:
            why = ": it scales every update to nothing" if alpha == 0 else ""
            raise UsageError(f"adapter {directory} has lora_alpha {_short(alpha)}{why}")
    declared = _ranks(where, config)
    _require_floating(directory)
    shapes = WeightsFile(directory).shapes()
    first = {key: shape for key, shape in shapes.items() if ".lora_A." in key or key.endswith("lora_embedding_A")}
    if flat := [key for key, shape in first.items() if not shape]:
        raise UsageError(f"adapter {directory} holds {_short(flat[0])}, a single number: not a LoRA adapter's weights")
    stored = {shape[0]: key for key, shape in first.items()}
    if not stored:
        raise UsageError(f"adapter {directory} holds no lora_A tensor: not a LoRA adapter's weights")
    # An adapted parameter that stacks a layer's experts has the rank once per expert.
    stacked = bool(config.get("target_parameters"))
    for rank, key in stored.items():
        if rank not in declared and not (stacked and any(rank % one == 0 for one in declared)):
            raise UsageError(
                f"{where} declares rank {', '.join(map(_short, sorted(declared)))}, but {key} has {rank}: the tensors "
                "do not belong to this configuration"
            )
    # A rank that no tensor has would still be allocated and initialised anew.
    absent = declared - set(stored)
    if absent and max(absent) > max(stored):
        raise UsageError(f"{where} declares rank {_short(max(absent))}, the largest of a tensor is {max(stored)}")


def _require_same_sizes(adapter: Path, base: Path) -> None:
    """Reject embeddings saved whole in an adapter whose number of rows differs from its base model's."""
    shapes = WeightsFile(base).shapes()
    for key, shape in WeightsFile(adapter).shapes().items():
        in_base = shapes.get(key, shape)
        if in_base != shape and in_base[1:] == shape[1:]:
            raise UsageError(
                f"adapter {adapter} holds {key} of shape {shape}, its base model {base} of shape {in_base}: the "
                "base was resized before training. Save the resized base with "
                f"model.resize_token_embeddings({shape[0]}); model.save_pretrained(DIR), and give --base-model DIR"
            )


def require_all_read(directory: Path, keys: Mapping[str, str], trainable: Mapping[str, Any], model: Any) -> None:
    """Reject an adapter that peft would load in part: it would initialise parameters without a tensor anew.

    Args:
        directory: the adapter's.
        keys: live parameter name to the key it should have on disk.
        trainable: the live trainable parameters.
        model: the live model; embeddings may be saved beside the adapter's own tensors.

    Raises:
        UsageError: a parameter has no tensor, or a tensor has no parameter; names it.
    """
    weights = WeightsFile(directory)
    without = [name for name in trainable if keys.get(name, "") not in weights]
    if without:
        raise UsageError(
            f"adapter {directory} has no tensor for {len(without)} of {len(trainable)} trainable parameters of its "
            f"configuration, for instance {without[0]}: peft would initialise them anew"
        )
    # A module saved whole has its own name on disk, and a second one where it is tied to another saved module.
    live = {live_name(name) for name in model.state_dict()}
    everything = live | {name.replace(".modules_to_save.", ".") for name in live}
    unused = sorted(key for key in set(weights) - set(keys.values()) if live_name(key) not in everything)
    if unused:
        raise UsageError(
            f"adapter {directory} holds {len(unused)} tensors that its configuration and base model have no place "
            f"for, for instance {unused[0][:200]}: of another base model, or target_modules was changed"
        )


def _require_files(directory: Path) -> None:
    """Reject pipes and devices among a checkpoint's files: reading one could block for ever."""
    for entry in sorted(directory.iterdir()):
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise UsageError(f"{entry} is a pipe or a device, not a file")


def _require_small_tokenizer(directory: Path) -> None:
    for file in (*directory.glob("tokenizer*"), *directory.glob("vocab*"), *directory.glob("merges*")):
        if file.is_file() and file.stat().st_size > _LARGEST_TOKENIZER:
            raise UsageError(
                f"{file} has {file.stat().st_size} bytes; a tokenizer's file over {_LARGEST_TOKENIZER} is not read"
            )


def _ranks(where: Path, config: Mapping[str, Any]) -> set[int]:
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r", 8), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    for rank in ranks:
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise UsageError(f"{where}: rank {_short(rank)} is not a positive whole number")
    return set(ranks)


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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
