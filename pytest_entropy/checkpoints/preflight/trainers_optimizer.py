"""Reject a checkpoint whose trainer says, in ``training_args.bin``, that another optimizer than AdamW took its steps.

Several optimizers store states with AdamW's very keys, and only the trainer's own word tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.model_files import quoted
from pytest_entropy.checkpoints.training_arguments import NAME, read_training_arguments
from pytest_entropy.errors import UsageError

# What transformers' Trainer calls AdamW; torchao's and bitsandbytes' are AdamW with quantised moments.
_ADAMW = frozenset(
    {"adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused", "adamw_torch_4bit"}
    | {"adamw_torch_8bit", "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "paged_adamw"}
    # Axolotl's names for torchao's.
    | {"ao_adamw_4bit", "ao_adamw_8bit", "ao_adamw_fp8"}
)
# DeepSpeed's Adam is AdamW unless adam_w_mode is false.
_DEEPSPEED = ("adam", "adamw", "fusedadam", "deepspeedcpuadam")


def require_trainers_adamw(files: CheckpointFiles) -> None:
    """Reject a checkpoint whose trainer's arguments name another optimizer than AdamW; silence counts as AdamW.

    Raises:
        UsageError: names the argument and its value.
    """
    arguments = read_training_arguments(files)
    values: Mapping[str, Any] = {} if arguments is None else arguments.values
    # Axolotl builds the second one, and leaves the first at a default.
    for key in ("optim", "alternate_optimizer"):
        name = _text(values.get(key))
        if name and name.lower() not in _ADAMW:
            _refuse(files, f"{key} {quoted(name)}")
    deepspeed = values.get("deepspeed")
    optimizer = deepspeed.get("optimizer") if isinstance(deepspeed, dict) else None
    if isinstance(optimizer, dict):
        kind, settings = _text(optimizer.get("type")), optimizer.get("params")
        l2 = isinstance(settings, dict) and settings.get("adam_w_mode") is False and bool(settings.get("weight_decay"))
        if (kind and kind.lower() not in _DEEPSPEED) or l2:
            _refuse(files, f"DeepSpeed's optimizer {quoted(kind)}" + (" with adam_w_mode false" if l2 else ""))


def _text(value: Any) -> str:
    """A text, or the text that an enumeration's member was made of; empty for anything else."""
    arguments = getattr(value, "arguments", None)
    plain = arguments[0] if isinstance(arguments, tuple) and len(arguments) == 1 else value
    return plain if isinstance(plain, str) else ""


def _refuse(files: CheckpointFiles, what: str) -> None:
    raise UsageError(
        f"checkpoint {files.root}: its {NAME} says that {what} trained it, which is not AdamW; only AdamW's next step "
        f"is implemented. If AdamW did take its steps all the same, move {NAME} away"
    )
