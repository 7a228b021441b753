"""Check a LoRA adapter's configuration against its tensors, its base model and, once loaded, the live parameters."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import read_object
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.preflight.model_files import quoted, require_floating
from pytest_entropy.checkpoints.states.parameter_order import live_name
from pytest_entropy.errors import UsageError

# Keys of adapters that change more than weights, or that name code to import.
_UNSUPPORTED = ("layer_replication", "megatron_config", "alora_invocation_tokens")
# Initialisations that subtract from the base's weights a part that is random or made from data: when an adapter is
# loaded, peft subtracts another part, or none.
_UNREPEATABLE = ("pissa_niter", "corda", "lora_ga")


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
            f"{where}: adapter of type {quoted(config['peft_type'])}; only LoRA (and its kin) is supported"
        )
    for key in _UNSUPPORTED:
        if config.get(key):
            raise UsageError(f"{where}: {key} is not supported; merge the adapter into its base or train without it")
    start = str(config.get("init_lora_weights"))
    if start.lower().startswith(_UNREPEATABLE):
        raise UsageError(
            f"{where}: init_lora_weights {quoted(start)} has changed the base model's weights in a way that cannot be "
            "repeated from the base and the adapter. Save the changed base where the adapter was made, with "
            "model.unload().save_pretrained(DIR), set init_lora_weights to true, and give --base-model DIR"
        )
    pattern = config.get("alpha_pattern") or {}
    for alpha in (config.get("lora_alpha", 8), *(pattern.values() if isinstance(pattern, dict) else [pattern])):
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < abs(alpha) < 1e6:
            why = ": it scales every update to nothing" if alpha == 0 else ""
            raise UsageError(f"adapter {directory} has lora_alpha {quoted(alpha)}{why}")
    _require_targets(where, config, WeightsFile(directory))
    declared = _ranks(where, config)
    require_floating(directory)
    shapes = WeightsFile(directory).shapes()
    first = {key: shape for key, shape in shapes.items() if ".lora_A." in key or key.endswith("lora_embedding_A")}
    if flat := [key for key, shape in first.items() if not shape]:
        raise UsageError(f"adapter {directory} holds {quoted(flat[0])}, a single number: not a LoRA adapter's weights")
    stored = {shape[0]: key for key, shape in first.items()}
    if not stored:
        raise UsageError(f"adapter {directory} holds no lora_A tensor: not a LoRA adapter's weights")
    # An adapted parameter that stacks a layer's experts has the rank once per expert.
    stacked = bool(config.get("target_parameters"))
    for rank, key in stored.items():
        if rank not in declared and not (stacked and any(rank % one == 0 for one in declared)):
            raise UsageError(
                f"{where} declares rank {', '.join(map(quoted, sorted(declared)))}, but {key} has {rank}: the tensors "
                "do not belong to this configuration"
            )
    # A rank that no tensor has would still be allocated and initialised anew.
    absent = declared - set(stored)
    if absent and max(absent) > max(stored):
        raise UsageError(f"{where} declares rank {quoted(max(absent))}, the largest of a tensor is {max(stored)}")


def _require_targets(where: Path, config: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Reject a matrix of a module that ``target_modules`` does not name: peft would make no place for it.

    Patterns, which a stranger may have written to run for ever, are left to loading.
    """
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not targets or config.get("target_parameters"):
        return
    # By its last name: what stands before it may have prefixes, or another model's.
    named = list(dict.fromkeys(str(target).rpartition(".")[2] for target in targets))
    modules = {key: key.partition(".lora_")[0].rpartition(".")[2] for key in keys if ".lora_" in key}
    strange = [key for key, module in modules.items() if module not in named]
    if strange:
        raise UsageError(
            f"{where}: adapter tensor {quoted(strange[0])} is of a module that target_modules "
            f"({', '.join(map(quoted, named[:8]))}) does not name ({len(strange)} of {len(modules)}): the tensors do "
            "not belong to this configuration"
        )


def _ranks(where: Path, config: Mapping[str, Any]) -> set[int]:
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r", 8), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    for rank in ranks:
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise UsageError(f"{where}: rank {quoted(rank)} is not a positive whole number")
    return set(ranks)


def require_same_sizes(adapter: Path, base: Path) -> None:
    """Reject embeddings saved whole in an adapter whose number of rows differs from its base model's.

    Args:
        adapter, base: their directories.

    Raises:
        UsageError: names the tensor and both shapes.
    """
    shapes = WeightsFile(base).shapes()
    for key, shape in WeightsFile(adapter).shapes().items():
        in_base = shapes.get(key, shape)
        if in_base != shape and in_base[1:] == shape[1:]:
            raise UsageError(
                f"adapter {adapter} holds {key} of shape {shape}, its base model {base} of shape {in_base}: the "
                "base was resized before training. Save the resized base with "
                f"model.resize_token_embeddings({shape[0]}); model.save_pretrained(DIR), and give --base-model DIR"
            )


def require_known_switches(directory: Path) -> None:
    """Reject an adapter whose configuration switches on what the installed peft does not know, and would ignore.

    peft is imported, so this is for loading.

    Args:
        directory: the adapter's.

    Raises:
        UsageError: a key that peft does not know is true or a struct; names it, and both versions of peft.
    """
    import peft

    config = read_object(directory / "adapter_config.json")
    known = inspect.signature(peft.LoraConfig).parameters
    # Keys that are off change nothing: a newer peft writes all that it has.
    on = [key for key, value in config.items() if key not in known and value and isinstance(value, bool | dict)]
    if on:
        theirs = f" of {quoted(config['peft_version'])}" if config.get("peft_version") else ""
        raise UsageError(
            f"{directory / 'adapter_config.json'}: {quoted(on[0])} is set, which the installed peft {peft.__version__} "
            f"does not know and would ignore; install the peft{theirs} that wrote it, or remove the key if it changes "
            "nothing in a loaded adapter"
        )


def require_all_read(
    directory: Path,
    keys: Mapping[str, str],
    trainable: Mapping[str, Any],
    model: Any,
    names: Mapping[str, str],
) -> None:
    """Reject an adapter that peft would load in part: it would initialise parameters without a tensor anew.

    Args:
        directory: the adapter's.
        keys: live parameter name to the key it should have on disk.
        trainable: the live trainable parameters.
        model: the live model; embeddings may be saved beside the adapter's own tensors.
        names: under which peft was given the tensors, by key in the file, where these differ.

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
    spare = set(weights) - set(keys.values())
    unused = sorted(key for key in spare if live_name(names.get(key, key)) not in everything)
    if unused:
        raise UsageError(
            f"adapter {directory} holds {len(unused)} tensors that its configuration and base model have no place "
            f"for, for instance {unused[0][:200]}: of another base model, or target_modules was changed"
        )
