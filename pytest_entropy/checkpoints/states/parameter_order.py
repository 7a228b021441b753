"""The rules by which trainers number parameters, and the live spelling of parameter names on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_entropy.errors import UsageError

# Patterns of names that transformers' Trainer exempts from weight decay; they decide the numbering in its files.
_NO_DECAY = [re.compile(p) for p in (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")]


def all_or_trainable(model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Live names in the optimizer's numbering: over all parameters if it was given as many, else over the trainable.

    One group is numbered in ``named_parameters()`` order; several groups are numbered one after the other, and must
    come from a known split.

    Args:
        model: the live model.
        trainable: live names of the trainable parameters, in ``named_parameters()`` order.
        groups: the optimizer's parameter groups, of which only the sizes are used.

    Raises:
        UsageError: no known split gives groups of these sizes.
    """
    count = sum(len(group["params"]) for group in groups)
    names = [name for name, _ in model.named_parameters()]
    given = names if count == len(names) else list(trainable)
    return split_by_decay(model, given, groups)


def split_by_decay(model: Any, given: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters an optimizer was given, in its numbering: those with weight decay first, as Trainers group them.

    With a single group that is not empty there is no split, and the order stays.

    Args:
        model: the live model.
        given: names in ``named_parameters()`` order.
        groups: the optimizer's parameter groups, of which only the sizes are used.

    Raises:
        UsageError: neither transformers' current split (norms and biases without decay) nor that of older versions
            (biases and LayerNorms) gives groups of these sizes, so that the numbering is unknown.
    """
    sizes = [len(group["params"]) for group in groups]
    if sum(size > 0 for size in sizes) < 2 or sum(sizes) != len(given):
        return list(given)
    import torch

    inside_norm = {
        f"{name}.{parameter}" if name else parameter
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for parameter in module._parameters
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
        f"weight decay ({splits}), and no names: which state belongs to which parameter is unknown. List the "
        "parameters' names, in the optimizer's order, in optimizer_param_names.json beside it"
    )


def decays(name: str) -> bool:
    """Whether transformers' Trainer applies weight decay to a parameter, by its name."""
    return not any(pattern.search(name.lower()) for pattern in _NO_DECAY)


def live_name(stored: str) -> str:
    """A stored parameter name without the prefixes of wrappers and without the adapter's name.

    Prefixes are ``module.``, ``_orig_mod.``, ``_fsdp_wrapped_module.``, ``base_model.model.``; the adapter's name is
    ``default`` in ``lora_A.default.weight``.  To compare a stored name with a live one, apply this to both.
    """
    name = re.sub(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.", "", stored)
    for prefix in ("module.", "base_model.model."):
        while name.startswith(prefix):
            name = name[len(prefix) :]
    name = re.sub(r"\.modules_to_save\.[^.]+\.", ".modules_to_save.", name)
    return re.sub(r"(lora_(?:A|B|embedding_A|embedding_B|magnitude_vector))\.(?!weight$)[^.]+", r"\1", name)
