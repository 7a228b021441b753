"""From files to a live policy: transformers and peft load it, in the dtype asked for, ready to be probed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from pytest_entropy.adamw import AdamWState
from pytest_entropy.checkpoints.files import CheckpointFiles, read_json
from pytest_entropy.checkpoints.optimizer_file import read_optimizer
from pytest_entropy.errors import UsageError
from pytest_entropy.policy import Policy

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        policy: model in eval mode with its trainable parameters; tokenizer; end tokens.
        optimizer: AdamW state by live parameter name.
        learning_rate, learning_rate_source: the next step's rate as stored, None where there is none.
        mapping: how the optimizer's integers became names, in words.
        ignored_generation_config: sampling defaults found beside the weights and deliberately not used.
    """

    files: CheckpointFiles
    policy: Policy
    optimizer: AdamWState
    learning_rate: float | None
    learning_rate_source: str
    mapping: str
    digest: str
    ignored_generation_config: dict[str, Any] = field(default_factory=dict)


def load(files: CheckpointFiles, *, device: str = "cpu", dtype: str = "float32") -> Checkpoint:
    """Load what ``find_checkpoint`` found.

    Args:
        files: where everything is.
        device: torch device.
        dtype: of the weights; float32 or float64 (bfloat16 for the frozen base only makes sense on a GPU).

    Raises:
        UsageError: damaged or missing files, not-finite weights, an optimizer that does not fit.
    """
    if dtype == "bfloat16" and not files.is_adapter:
        raise UsageError(
            f"checkpoint {files.root}: --dtype bfloat16 is for the frozen base of an adapter; the weights an update "
            "moves must be float32 or float64"
        )
    # What libraries say to each other while loading (renamed attributes, progress) is not for our users.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        disable_progress_bar()
        model = _model(files, DTYPES[dtype])
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise UsageError(f"checkpoint {files.root} has no trainable parameter: nothing an update could move")
    _require_finite(files, model)
    mapped = read_optimizer(files, model, trainable)
    model.to(torch.device(device)).eval()
    tokenizer = _tokenizer(files)
    rate, source = mapped.learning_rate()
    policy = Policy(model, tokenizer, trainable, end_tokens(model, tokenizer))
    return Checkpoint(
        files=files,
        policy=policy,
        optimizer=mapped.states,
        learning_rate=rate,
        learning_rate_source=source,
        mapping=mapped.rule,
        digest=files.digest(),
        ignored_generation_config=_sampling_defaults(model.generation_config),
    )


def _model(files: CheckpointFiles, dtype: torch.dtype) -> Any:
    source = files.base if files.base is not None else str(files.weights)
    options = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(source, **options)
        if not files.is_adapter:
            return model
        if read_json(files.weights / "adapter_config.json").get("lora_alpha") == 0:
            raise UsageError(f"adapter {files.weights} has lora_alpha 0: it scales every update to nothing")
        wrapped = PeftModel.from_pretrained(model, str(files.weights), is_trainable=True)
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"checkpoint {files.root}: loading {source} failed: {error}") from error
    base = wrapped.get_base_model()
    for parameter in base.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()
        elif parameter.requires_grad and dtype == torch.float64:
            parameter.data = parameter.data.double()
    return base


def _require_finite(files: CheckpointFiles, model: Any) -> None:
    bad = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    if bad:
        raise UsageError(f"checkpoint {files.root}: {len(bad)} weights are not finite, for instance {bad[0]}")


def _tokenizer(files: CheckpointFiles) -> Any:
    """The checkpoint's own tokenizer, else its base model's."""
    own = any((files.weights / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    source = str(files.weights) if own or files.base is None else files.base
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"checkpoint {files.root}: no usable tokenizer in {source}: {error}") from error


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Union of the end-of-sequence ids of generation config, model config and tokenizer, sorted.

    Raises:
        UsageError: there is none, so that no response would ever end by itself.
    """
    found: set[int] = set()
    named = (model.generation_config, model.config, tokenizer)
    for ids in (getattr(source, "eos_token_id", None) for source in named if source is not None):
        found.update([] if ids is None else [ids] if isinstance(ids, int) else ids)
    if not found:
        raise UsageError("the checkpoint names no end-of-sequence token; set eos_token in its tokenizer")
    return tuple(sorted(int(i) for i in found))


def _sampling_defaults(config: GenerationConfig | None) -> dict[str, Any]:
    if config is None:
        return {}
    names = ("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
    return {name: getattr(config, name) for name in names if getattr(config, name, None) is not None}
