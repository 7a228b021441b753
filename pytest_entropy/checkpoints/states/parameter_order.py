"""The rules by which trainers number parameters, and names as they are spelled on disk and live."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_entropy.errors import UsageError

# The patterns transformers' Trainer exempts from weight decay; a numbering convention of its files.
_NO_DECAY = [re.compile(p) for p in (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")]


def all_or_trainable(model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """``named_parameters()`` order over all parameters if the optimizer was given as many, else the trainable.

    Several groups are numbered one after the other: then the trainer's split must be a known one.

    Raises:
        UsageError: several groups of sizes that no known split gives.
    """
    count = sum(len(group["params"]) for group in groups)
    names = [name for name, _ in model.named_parameters()]
    given = names if count == len(names) else list(trainable)
    return split_by_decay(model, given, groups)


def split_by_decay(model: Any, given: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters an optimizer was given, in its numbering: those with weight decay first, as Trainers group them.

    One group (that is not empty) means no split, and plain order.

    Args:
        model: the live model.
        given: names in ``named_parameters()`` order.
        groups: the optimizer's, of which the sizes count.

    Raises:
        UsageError: the sizes are not those of transformers' split, of today (norms and biases without decay) or of
            older versions (biases and LayerNorms): nothing says which parameter has which number.
    """
    sizes = [len(group["params"]) for group in groups]
    if sum(size > 0 for size in sizes) < 2 or sum(sizes) != len(given):
        return list(given)
    import torch

    inside_norm = {
        f"{name}.{own}" if name else own
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for own in module._parameters
    }
    tried = []
    for rule in (decays, lambda name: "bias" not in name):
        first = [name for name in given if name not in inside_norm and rule(name)]
        tried.append([len(first), len(given) - len(first)])
        if tried[-1] == sizes:
            return first + [name for name in given if name not in set(first)]
    splits = " or ".join(f"{some}, {rest}" for some, rest in tried)
    raise UsageError(
        f"the optimizer has groups of {', '.join(map(str, sizes))} parameters, which is not transformers' split by "
        f"weight decay ({splits}), and no names: nothing says which state is whose. List the parameters' names, in the "
        "optimizer's order, in optimizer_param_names.json beside it"
    )


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
