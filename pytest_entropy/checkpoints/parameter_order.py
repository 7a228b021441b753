"""The rules by which trainers number parameters, and names as they are spelled on disk and live."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# The patterns transformers' Trainer exempts from weight decay; a numbering convention of its files.
_NO_DECAY = [re.compile(p) for p in (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")]


def all_or_trainable(model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """``named_parameters()`` order over all parameters if the optimizer was given as many, else the trainable.

    Group sizes cannot split the order here: several groups concatenate it.
    """
    count = sum(len(group["params"]) for group in groups)
    names = [name for name, _ in model.named_parameters()]
    return names if count == len(names) else list(trainable)


def decay_first(model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Trainable parameters: first those with weight decay, then norms and biases.

    One group means the optimizer was built without that split, and plain order holds.
    """
    if len(groups) == 1:
        return all_or_trainable(model, trainable, groups)
    import torch

    inside_norm = {
        f"{name}.{own}" if name else own
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for own in module._parameters
    }

    first = [n for n in trainable if n not in inside_norm and decays(n)]
    return first + [n for n in trainable if n not in set(first)]


def decays(name: str) -> bool:
    """Whether transformers' Trainer applies weight decay to a parameter, by its name."""
    return not any(pattern.search(name.lower()) for pattern in _NO_DECAY)


def live_name(stored: str) -> str:
    """A stored parameter name as the loaded model spells it, up to the adapter's name.

    What wrappers add goes (``module.``, ``_orig_mod.``, ``_fsdp_wrapped_module.``, ``base_model.model.``), and so
    does the adapter name of ``lora_A.default.weight``: compare through this function on both sides.
    """
    name = re.sub(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.", "", stored)
    for prefix in ("module.", "base_model.model."):
        while name.startswith(prefix):
            name = name[len(prefix) :]
    name = re.sub(r"\.modules_to_save\.[^.]+\.", ".modules_to_save.", name)
    return re.sub(r"(lora_(?:A|B|embedding_A|embedding_B|magnitude_vector))\.(?!weight$)[^.]+", r"\1", name)
