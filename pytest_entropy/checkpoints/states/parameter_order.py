"""The rules by which trainers number parameters, and the live spelling of parameter names on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_entropy.checkpoints.states.group_rules import CURRENT, Split, known_splits
from pytest_entropy.errors import UsageError

# Parts that torch.compile, FSDP, activation checkpointing and Lightning put into names.
WRAPPERS = frozenset(
    {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_fpw_module"}
)
_REMEDY = "List the parameters' names, in the optimizer's order, in optimizer_param_names.json beside it"


def all_or_trainable(model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Live names in the optimizer's numbering: over all parameters if it was given as many, else over the trainable.

    One group is numbered in ``named_parameters()`` order; several groups are numbered one after the other, and must
    come from a known split.

    Args:
        model: the live model.
        trainable: live names of the trainable parameters, in ``named_parameters()`` order.
        groups: the optimizer's parameter groups, as :func:`split_by_decay` takes them.

    Raises:
        UsageError: no known trainer's groups are of these sizes and shapes, or several trainers' are.
    """
    return split_by_decay(model, given_parameters(model, trainable, groups), groups)


def given_parameters(model: Any, trainable: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters that the optimizer was given, in ``named_parameters()`` order: all of them, or the trainable.

    Args:
        model: the live model.
        trainable: live names of the trainable parameters.
        groups: the optimizer's parameter groups.
    """
    count = sum(len(group["params"]) for group in groups)
    names = [name for name, _ in model.named_parameters()]
    return names if count == len(names) else list(trainable)


def split_by_decay(model: Any, given: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters an optimizer was given, in its numbering: group by group, as the trainer that fits made them.

    With a single group that is not empty there is no split, and the order stays.

    Args:
        model: the live model.
        given: names in ``named_parameters()`` order.
        groups: the optimizer's parameter groups: their sizes, the ``shapes`` of their moments where these are known,
            and ``weight_decay``.

    Raises:
        UsageError: no known trainer makes groups of these sizes and shapes, or two make different ones, so that the
            numbering is unknown.
    """
    sizes = [len(group["params"]) for group in groups]
    if sum(size > 0 for size in sizes) < 2 or sum(sizes) != len(given):
        return list(given)
    fits = _fits(model, given, groups)
    if not fits:
        several = (split.sizes for split in known_splits(model, given) if len(split.sizes) > 1)
        tried = dict.fromkeys(", ".join(map(str, some)) for some in several)
        raise UsageError(
            f"the optimizer has groups of {', '.join(map(str, sizes))} parameters, which no known trainer makes of "
            f"this model ({' or '.join(tried)}, with moments of the parameters' shapes), and no names: which state "
            f"belongs to which parameter is unknown. {_REMEDY}"
        )
    if len(fits) > 1:
        one, other = fits[:2]
        which = next(a for a, b in zip(one.order, other.order, strict=True) if a != b)
        raise UsageError(
            f"the optimizer's groups of {', '.join(map(str, sizes))} parameters fit {one.rule} and {other.rule}, "
            f"which number {which} and others differently, and it has no names. {_REMEDY}"
        )
    return fits[0].order


def rule_of_order(model: Any, given: Sequence[str], groups: Sequence[Mapping[str, Any]], order: Sequence[str]) -> str:
    """Whose groups gave an order of :func:`split_by_decay`, in words; empty for one group and for today's Trainer.

    Args:
        model: the live model.
        given: names in ``named_parameters()`` order.
        groups: the optimizer's parameter groups.
        order: names as the optimizer numbers them.
    """
    if sum(bool(group["params"]) for group in groups) < 2:
        return ""
    rule = next((split.rule for split in _fits(model, given, groups) if split.order == list(order)), CURRENT)
    return "" if rule == CURRENT else f"groups of {rule}"


def _fits(model: Any, given: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[Split]:
    """The known groups of these sizes and shapes, one of each order; where orders differ, decay must agree as well."""
    filled = [group for group in groups if group["params"]]
    sizes = [len(group["params"]) for group in filled]
    shapes = [shape for group in filled for shape in group.get("shapes") or [None] * len(group["params"])]
    live = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    found: dict[tuple[str, ...], Split] = {}
    for split in known_splits(model, given):
        order = split.order
        if split.sizes == sizes and all(s in (None, live[n]) for s, n in zip(shapes, order, strict=True)):
            found.setdefault(tuple(order), split)
    splits = list(found.values())
    if len(splits) < 2:
        return splits
    decay = [bool(group.get("weight_decay")) for group in filled]
    return [split for split in splits if not _against(split, decay)] or splits


def _against(split: Split, decay: Sequence[bool]) -> bool:
    """Whether a group that a rule leaves without weight decay has one."""
    filled = [number for number, group in enumerate(split.groups) if group]
    return any(number in split.light and has for number, has in zip(filled, decay, strict=True))


def live_name(stored: str) -> str:
    """A stored parameter name without the prefixes of wrappers and without the adapter's name.

    Prefixes are ``module.``, ``_orig_mod.``, ``_fsdp_wrapped_module.``, ``base_model.model.``; the adapter's name is
    ``default`` in ``lora_A.default.weight``.  To compare a stored name with a live one, apply this to both.
    """
    name = re.sub(rf"(?:^|(?<=\.))(?:{'|'.join(sorted(WRAPPERS))})\.", "", stored)
    for prefix in ("module.", "base_model.model."):
        while name.startswith(prefix):
            name = name[len(prefix) :]
    name = re.sub(r"\.modules_to_save\.[^.]+\.", ".modules_to_save.", name)
    return re.sub(r"(lora_(?:A|B|embedding_A|embedding_B|magnitude_vector))\.(?!weight$)[^.]+", r"\1", name)
