"""Load a checkpoint's files, with transformers and peft, as a policy and its AdamW state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from pytest_entropy.checkpoints.device_map import automatic_map, lay_across
from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile, stored_names
from pytest_entropy.checkpoints.metadata import SAMPLING
from pytest_entropy.checkpoints.model_class import class_name
from pytest_entropy.checkpoints.preflight.adapter_files import require_all_read, require_known_switches
from pytest_entropy.checkpoints.preflight.bfloat16_units import warn_of_slow_bfloat16
from pytest_entropy.checkpoints.preflight.device import require_device
from pytest_entropy.checkpoints.preflight.memory import require_room_for_weights
from pytest_entropy.checkpoints.preflight.next_step import require_fitting_dtype
from pytest_entropy.checkpoints.preflight.row_independence import with_separate_rows
from pytest_entropy.checkpoints.preflight.screening import screen
from pytest_entropy.checkpoints.renamed_copy import adapter_as_expected, model_as_expected, spare_names
from pytest_entropy.checkpoints.second_reading.reading import PlainReading
from pytest_entropy.checkpoints.states.consecutive import prove_beside, weights_of
from pytest_entropy.checkpoints.states.mapping_proof import MappingProof, prove
from pytest_entropy.checkpoints.states.optimizer_file import Mapped, read_optimizer
from pytest_entropy.checkpoints.states.unreached import is_multimodal, unreached
from pytest_entropy.checkpoints.stored_prefixes import Renaming
from pytest_entropy.checkpoints.tokenizer_files import has_own_tokenizer, require_vocabulary
from pytest_entropy.checkpoints.whole_model import model_directory
from pytest_entropy.errors import UsageError
from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.text_part import vocabulary
from pytest_entropy.records.second_reading import SecondReading

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        files: the paths it was loaded from.
        policy: model in eval mode with its trainable parameters; tokenizer; end tokens.
        optimizer: AdamW state by live parameter name.
        learning_rate: stored rate of the next step (eta), None where no rate is stored.
        learning_rate_source: where that rate is from, in words.
        mapping: the rule that gave the optimizer's integers their parameter names, and whether it was proved, in words.
        digest: SHA-256 of the files, as 16 hex digits.
        stored_names: live parameter name to key in the weights file.
        second: what the same files say by a second, plain reading.
        ignored_generation_config: sampling defaults found beside the weights and deliberately not used.
    """

    files: CheckpointFiles
    policy: Policy
    optimizer: AdamWState
    learning_rate: float | None
    learning_rate_source: str
    mapping: str
    digest: str
    stored_names: dict[str, str]
    second: PlainReading
    ignored_generation_config: dict[str, object] = field(default_factory=dict)

    def read_again(self, policy: Policy, optimizer: AdamWState) -> SecondReading:
        """The discrepancies of a policy and an optimizer state in use from the second reading of the files.

        Args:
            policy: made from this checkpoint's.
            optimizer: the state in use.
        """
        return self.second.compare(policy, optimizer)


def load(files: CheckpointFiles, *, device: str = "cpu", dtype: str = "float32") -> Checkpoint:
    """Load a checkpoint's model, tokenizer and optimizer state.

    Args:
        files: paths of the checkpoint, from ``find_checkpoint``.
        device: cpu, cuda, cuda:N, or auto for all GPUs together.
        dtype: of the weights; float32 or float64 (bfloat16, for an adapter's frozen base, makes sense on a GPU only).

    Raises:
        UsageError: the device does not exist, the weights do not fit into memory, files are missing or damaged, weights
            are not finite, or the optimizer state does not fit the model or, by the checkpoint one step before, belongs
            to other parameters.
    """
    require_device(device)
    require_fitting_dtype(files, dtype)
    warn_of_slow_bfloat16(device, dtype)
    require_room_for_weights(files, dtype)
    loaded = _load(files, DTYPES[dtype])
    model, mapped = loaded.model, loaded.mapped
    proof = prove_beside(files, loaded.keys, mapped.states)
    trainable = _placed(loaded, device)
    model.eval()
    tokenizer = _tokenizer(files)
    rate, source = mapped.learning_rate()
    policy = Policy(model, tokenizer, trainable, end_tokens(model, tokenizer))
    policy = with_separate_rows(policy, f"checkpoint {files.root}")
    return Checkpoint(
        files=files,
        policy=policy,
        optimizer={name: mapped.states[name] for name in trainable},
        learning_rate=rate,
        learning_rate_source=source,
        mapping="; ".join([f"{mapped.rule}; {proof}", *loaded.renamed(files)]),
        digest=files.digest(),
        stored_names=loaded.keys,
        second=PlainReading.of(files.root, files.base, coarse=dtype == "bfloat16"),
        ignored_generation_config=_sampling_defaults(model.generation_config),
    )


def verify(before: str | Path, files: CheckpointFiles) -> MappingProof:
    """Prove the mapping of a checkpoint's optimizer states from the checkpoint one step earlier.

    Args:
        before: directory of the earlier checkpoint; only its weights are read.
        files: paths of the later checkpoint.

    Raises:
        UsageError: some states belong to other parameters, or one of the two cannot be read.
    """
    loaded = _load(files, torch.float32)
    names = Path(before).name, str(files.root)
    return prove(weights_of(before, files), files.weights, loaded.keys, loaded.mapped.states, names=names)


class _Loaded(NamedTuple):
    """The model the optimizer sees, its parameters' keys on disk, its trainable parameters, and their AdamW state.

    Attributes:
        names: those that replaced keys of the file, by key.
    """

    model: Any
    keys: dict[str, str]
    trainable: dict[str, torch.nn.Parameter]
    mapped: Mapped
    names: Mapping[str, str]

    def renamed(self, files: CheckpointFiles) -> list[str]:
        """What was read under other names than the file has, in words; nothing where it has the expected ones."""
        if files.renamed or all(key == name for key, name in self.names.items()):
            return [files.renamed] if files.renamed else []
        return [str(Renaming(files.weights, self.names))]


def _load(files: CheckpointFiles, dtype: torch.dtype) -> _Loaded:
    # The libraries' warnings (renamed attributes, missing tensors) are silenced: the checks below raise what matters.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disable_progress_bar()
        model, keys, names = _model(files, dtype)
    trainable = _trainable(files, model, keys)
    if not trainable:
        raise UsageError(f"checkpoint {files.root} has no trainable parameter: nothing an update could move")
    if files.is_adapter:
        require_all_read(files.weights, keys, trainable, model, names)
    _require_finite(files, model)
    mapped = read_optimizer(files, model, trainable)
    # Without an image a trainer's optimizer leaves the other parts of a multimodal model where they are.
    still = unreached(model, list(mapped.states)) if is_multimodal(model) else frozenset()
    for name, parameter in trainable.items():
        parameter.requires_grad_(name in mapped.states and name not in still)
    moved = {name: trainable[name] for name in mapped.states if name not in still}
    return _Loaded(model, keys, moved, mapped, names)


def _trainable(files: CheckpointFiles, model: Any, keys: Mapping[str, str]) -> dict[str, torch.nn.Parameter]:
    """The parameters that train; of a text model's adapter on a multimodal base not those that peft adds elsewhere."""
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not files.is_adapter or not is_multimodal(model):
        return found
    weights = WeightsFile(files.weights)
    without = [name for name in found if keys.get(name, "") not in weights]
    beside = unreached(model, without) if without else frozenset()
    for name in beside:
        found[name].requires_grad_(False)
    return {name: p for name, p in found.items() if name not in beside}


def _placed(loaded: _Loaded, device: str) -> dict[str, torch.nn.Parameter]:
    """Move the model; its trainable parameters, which are other objects where it lies across several devices."""
    if device != "auto":
        loaded.model.to(torch.device(device))
        return loaded.trainable
    lay_across(loaded.model, automatic_map(loaded.model))
    parameters = dict(loaded.model.named_parameters())
    return {name: parameters[name] for name in loaded.trainable}


def _model(files: CheckpointFiles, dtype: torch.dtype) -> tuple[Any, dict[str, str], Mapping[str, str]]:
    """The model the optimizer sees, its parameters' keys in the weights file, and the names that replaced keys."""
    source = files.base if files.base is not None else str(files.weights)
    screen(files)
    options = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
    try:
        with model_as_expected(source) as (place, names):
            loaded: Any = _class_of(files).from_pretrained(place, output_loading_info=True, **options)
        model, report = loaded
        if dtype == torch.float64 and hasattr(model, "set_experts_implementation"):
            # torch's grouped product of experts takes no float64.
            model.set_experts_implementation("eager")
        wrapped = None
        if files.is_adapter:
            wrapped, names = _with_adapter(model, files)
    except UsageError:
        raise
    except Exception as error:
        # Which exceptions the libraries raise for a damaged or hostile file is not documented.
        reason = (str(error) or type(error).__name__)[:400]
        what = f"{source} with adapter {files.weights}" if files.is_adapter else source
        raise UsageError(f"loading {what} failed: {reason}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UsageError(
            f"model {source}: its weights lack {len(missing)} tensors that config.json asks for, for instance "
            f"{missing[0]}; transformers would initialise them at random" + spare_names(source, report)
        )
    if wrapped is None:
        return model, stored_names(model, None, files.weights, names), names
    base = wrapped.get_base_model()
    for parameter in base.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()
        elif parameter.requires_grad and dtype == torch.float64:
            parameter.data = parameter.data.double()
    return base, stored_names(base, wrapped, None, names), names


def _class_of(files: CheckpointFiles) -> Any:
    """The class of transformers that loads a checkpoint's model, an adapter's base."""
    directory = model_directory(files)
    return AutoModelForCausalLM if directory is None else getattr(transformers, class_name(directory))


def _with_adapter(model: Any, files: CheckpointFiles) -> tuple[Any, Mapping[str, str]]:
    """The model with its adapter, and the names that replaced keys of the adapter's file."""
    # peft is slow to import (with bitsandbytes, where that is installed), and only adapters need it.
    from peft import PeftModel

    require_known_switches(files.weights)
    with adapter_as_expected(files.weights, model) as (place, names):
        return PeftModel.from_pretrained(model, str(place), is_trainable=True), names


def _require_finite(files: CheckpointFiles, model: Any) -> None:
    bad = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    if bad:
        raise UsageError(f"checkpoint {files.root}: {len(bad)} weights are not finite, for instance {bad[0]}")


def _tokenizer(files: CheckpointFiles) -> Any:
    """The checkpoint's own tokenizer, else that of its base model."""
    require_vocabulary(files)
    source = files.base if files.base is not None and not has_own_tokenizer(files) else str(files.weights)
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise UsageError(f"checkpoint {files.root}: no usable tokenizer in {source}: {error}") from error


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Union of the end-of-sequence ids of generation config, model config and tokenizer, sorted.

    Ids outside the model's vocabulary are left out: no response could end with them.

    Raises:
        UsageError: no id is left, so that no response would end by itself, or an id is not an integer.
    """
    named_ids: set[int] = set()
    sources = (model.generation_config, model.config, tokenizer)
    for ids in (getattr(source, "eos_token_id", None) for source in sources if source is not None):
        listed = ids if isinstance(ids, list | tuple) else [] if ids is None else [ids]
        if not all(type(i) is int for i in listed):
            raise UsageError(f"the checkpoint's eos_token_id is {str(ids)[:60]!r}, expected token ids")
        named_ids.update(listed)
    size = vocabulary(model)
    within = sorted(i for i in named_ids if 0 <= i < size)
    if not within:
        outside = f" among its {size} (only {sorted(named_ids)[:3]})" if named_ids else ""
        raise UsageError(f"the checkpoint names no end-of-sequence token{outside}; set eos_token in its tokenizer")
    return tuple(within)


def _sampling_defaults(config: GenerationConfig | None) -> dict[str, object]:
    if config is None:
        return {}
    return {name: getattr(config, name) for name in SAMPLING if getattr(config, name, None) is not None}
