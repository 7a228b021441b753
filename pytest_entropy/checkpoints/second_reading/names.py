"""Which live parameter a stored name, or a number of an optimizer, belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pytest_entropy.checkpoints.second_reading.files import StoredOptimizer

# Parts of a name that wrappers put in, and an adapter's name.
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_fpw_module"}
ADAPTER = "default"
# Where a multimodal model's language model is in a name differs between files and live models.
BODIES = {"model", "language_model"}


def plain_name(name: str, *, base_layer: bool = True) -> str:
    """A parameter's name as the libraries' files have it: without wrappers and without the adapter's name.

    Args:
        name: stored or live.
        base_layer: whether peft's ``base_layer`` stays in the name.
    """
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    while parts[:1] == ["module"]:
        parts = parts[1:]
    while parts[:2] == ["base_model", "model"]:
        parts = parts[2:]
    # Any adapter's name, between LoRA's letter and the tensor's kind.
    parts = [
        part
        for before, part in zip(["", *parts], parts, strict=False)
        if not (before.startswith("lora_") or before == "modules_to_save") or part in ("weight", "bias")
    ]
    dropped = {ADAPTER, "modules_to_save"} | (set() if base_layer else {"base_layer"})
    parts = [part for part in parts if part not in dropped]
    if parts[-2:] == ["lora_magnitude_vector", "weight"]:
        parts = parts[:-1]
    return ".".join(parts)


def matched_name(name: str, *, base_layer: bool = True) -> str:
    """A plain name by which stored and live parameters are matched: without the module that holds the language model.

    Args:
        name: stored or live.
        base_layer: whether peft's ``base_layer`` stays in the name.
    """
    return ".".join(part for part in plain_name(name, base_layer=base_layer).split(".") if part not in BODIES)


def live_parameters(model: Any) -> dict[str, tuple[str, Any]]:
    """The live parameters and their names by :func:`matched_name`, tied ones under every name; a name of two is none's.

    Args:
        model: the model in use.
    """
    found: dict[str, tuple[str, Any]] = {}
    for base_layer in (False, True):
        own: dict[str, list[tuple[str, Any]]] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            # A module that peft trains a copy of stands beside its original.
            if "original_module" not in name.split("."):
                own.setdefault(matched_name(name, base_layer=base_layer), []).append((name, parameter))
        found |= {name: several[0] for name, several in own.items() if len(several) == 1}
    return found


def by_same_end(names: Iterable[str], live: Iterable[str]) -> dict[str, str]:
    """Live names of stored ones: the same, else the only one left with the same last parts, where that is mutual.

    A prefix that a trainer put in front, or left out, makes no difference.

    Args:
        names: stored ones, by :func:`plain_name`.
        live: as :func:`live_parameters` names them.
    """
    stored, there = dict.fromkeys(names), dict.fromkeys(live)
    found = {name: name for name in stored if name in there}
    ends: dict[tuple[str, ...], list[str]] = {}
    for name in (name for name in there if name not in found):
        parts = tuple(name.split("."))
        for start in range(len(parts) - 1):
            ends.setdefault(parts[start:], []).append(name)
    others: dict[str, str] = {}
    for name in (name for name in stored if name not in found):
        parts = tuple(name.split("."))
        longest = next((ends[parts[i:]] for i in range(len(parts) - 1) if parts[i:] in ends), [])
        if len(longest) == 1:
            others[name] = longest[0]
    taken = Counter(others.values())
    return found | {name: target for name, target in others.items() if taken[target] == 1}


def optimizer_names(stored: StoredOptimizer, model: Any) -> dict[Any, str]:
    """The live name of every parameter in an optimizer's file, by its key there.

    Names count where the file, or one beside it, has them.  Else parameters are numbered as torch numbers them, in the
    order of ``named_parameters()``: all of them where there are as many numbers, else those that train; group by group,
    as one of the known trainers makes them.

    Args:
        stored: the optimizer's file.
        model: the model in use.

    Raises:
        ValueError: no numbering, or several, give groups of these sizes and tensors of these shapes, or a name is no
            parameter's.
    """
    keys = [key for group in stored.groups for key in group]
    names = [str(key) for key in keys] if all(isinstance(key, str) for key in keys) else stored.names
    if names is not None:
        live = live_parameters(model)
        ends = by_same_end(map(matched_name, names), live)
        pairs = ((key, ends.get(matched_name(name))) for key, name in zip(keys, names, strict=True))
        found = {key: live[name][0] for key, name in pairs if name is not None}
        if len(found) < len(keys):
            raise ValueError(f"{len(keys) - len(found)} of {len(keys)} stored names are no parameter's")
        return found
    sizes, live = [size for group in stored.groups if (size := len(group))], dict(_given(model, len(keys)))
    sorters = [lambda name: 0] if len(sizes) == 1 else _sorters(model)
    orders: set[tuple[str, ...]] = set()
    for group_of in sorters:
        groups = [[name for name in live if group_of(name) == number] for number in range(4)]
        order = [name for group in groups for name in group]
        if sizes == [len(group) for group in groups if group] and _shapes_fit(stored, keys, order, live):
            orders.add(tuple(order))
    if len(orders) != 1:
        raise ValueError(f"{len(orders) or 'no'} numberings give groups of these sizes and moments of these shapes")
    return dict(zip(keys, orders.pop(), strict=True))


def _given(model: Any, count: int) -> list[tuple[str, Any]]:
    """The parameters that an optimizer of ``count`` numbers was given: all, those that train now, or an adapter's."""
    everything = list(model.named_parameters())
    training = [(name, p) for name, p in everything if p.requires_grad]
    # Of an adapter on a vision tower nothing trains now.
    adapters = [(name, p) for name, p in everything if {"lora_A", "lora_B"} & set(name.split("."))]
    return next((some for some in (everything, training, adapters) if len(some) == count), training)


def outside_text(model: Any) -> set[str]:
    """The live names of the parameters of a multimodal model that no text passes through, such as a vision tower's.

    Args:
        model: the model in use.
    """
    inside = {id(p) for part in (model.get_decoder(), model.get_output_embeddings()) for p in part.parameters()}
    return {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) not in inside}


def _sorters(model: Any) -> Sequence[Callable[[str], int]]:
    """The number of the group that trainers put a parameter into, by its name."""
    dims = {name: parameter.dim() for name, parameter in model.named_parameters()}
    within = {
        f"{name}.{own}".lstrip("."): type(module).__name__.lower()
        for name, module in model.named_modules()
        for own, _ in module.named_parameters(recurse=False)
    }

    def of_norm(name: str, norms: str) -> bool:
        kind = within.get(name, "")
        return kind == norms or (norms == "norm" and norms in kind)

    def by(*words: str, norms: str = "", lower: bool = True) -> Callable[[str], int]:
        """A group for names with one of the words, and for parameters of these norms."""
        return lambda name: int(
            any(word in (name.lower() if lower else name) for word in words) or (norms != "" and of_norm(name, norms))
        )

    def loraplus(order: str) -> Callable[[str], int]:
        def group_of(name: str) -> int:
            # "e" for embeddings: LLaMA-Factory counts their B only, earlier versions of peft none.
            if "e" in order and ("lora_embedding_B" in name or ("lora_embedding_A" in name and order == "aebl")):
                return order.index("e")
            if "lora_B" in name or dims[name] == 1:
                return order.index("l" if any(word in name.lower() for word in ("bias", "norm")) else "b")
            return order.index("a")

        return group_of

    return (
        # transformers since 4.53, from 4.49 on and before; a model may have registered its own norms by their class.
        lambda name: int("bias" in name or "norm" in within.get(name, "") or "norm" in name.lower()),
        by("bias", "norm.", "layernorm", norms="layernorm"),
        by("bias", "layernorm", "rmsnorm", norms="layernorm"),
        by("bias", "layernorm", "rmsnorm", norms="norm"),
        by("bias", norms="layernorm", lower=False),
        by("bias", norms="norm", lower=False),
        # nanoGPT, OpenRLHF, open-instruct, transformers' examples.
        lambda name: int(dims[name] < 2),
        by("bias", "layer_norm.weight", "layernorm.weight", "norm.weight", "ln_f.weight", lower=False),
        by("bias", "layer_norm.weight", lower=False),
        by("bias", "LayerNorm.weight", lower=False),
        by("bias", lower=False),
        # LoRA+ by peft and by LLaMA-Factory; Unsloth's embeddings.
        loraplus("aebl"),
        loraplus("abl"),
        loraplus("able"),
        lambda name: int("modules_to_save" in name.split(".")),
    )


def _shapes_fit(stored: StoredOptimizer, keys: Sequence[Any], order: Sequence[str], live: dict[str, Any]) -> bool:
    pairs = ((stored.states[key], live[name]) for key, name in zip(keys, order, strict=True) if key in stored.states)
    return all(state.exp_avg.shape == tuple(parameter.shape) for state, parameter in pairs)
