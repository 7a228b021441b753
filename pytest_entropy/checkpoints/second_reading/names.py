"""Which live parameter a stored name, or a number of an optimizer, belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytest_entropy.checkpoints.second_reading.files import StoredOptimizer

# Parts of a name that wrappers put in, and an adapter's name.
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
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
    if parts[:2] == ["base_model", "model"]:
        parts = parts[2:]
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


def optimizer_names(stored: StoredOptimizer, model: Any) -> dict[Any, str]:
    """The live name of every parameter in an optimizer's file, by its key there.

    Names count where the file, or one beside it, has them.  Else parameters are numbered as torch numbers them, in the
    order of ``named_parameters()``: all of them where there are as many numbers, else those that train; transformers'
    Trainer numbers those with weight decay first.

    Args:
        stored: the optimizer's file.
        model: the model in use.

    Raises:
        ValueError: no numbering gives groups of these sizes and tensors of these shapes, or a name is no parameter's.
    """
    keys = [key for group in stored.groups for key in group]
    names = [str(key) for key in keys] if all(isinstance(key, str) for key in keys) else stored.names
    if names is not None:
        live = live_parameters(model)
        found = {
            key: live[matched_name(name)][0]
            for key, name in zip(keys, names, strict=True)
            if matched_name(name) in live
        }
        if len(found) < len(keys):
            raise ValueError(f"{len(keys) - len(found)} of {len(keys)} stored names are no parameter's")
        return found
    given = _given(model, len(keys))
    for decayed in _splits(model):
        first, rest = ([n for n, _ in given if decayed(n) is side] for side in (True, False))
        sizes = [size for group in stored.groups if (size := len(group))]
        order = [n for n, _ in given] if len(sizes) == 1 else first + rest
        if sizes in ([len(given)], [len(first), len(rest)]) and _shapes_fit(stored, keys, order, dict(given)):
            return dict(zip(keys, order, strict=True))
    raise ValueError("no numbering gives groups of these sizes and moments of these shapes")


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


def _splits(model: Any) -> Sequence[Callable[[str], bool]]:
    """Whether a parameter has weight decay: all but biases and norms; before transformers 4.53 all but LayerNorms."""
    within = {
        f"{name}.{own}".lstrip("."): type(module).__name__.lower()
        for name, module in model.named_modules()
        for own, _ in module.named_parameters(recurse=False)
    }
    return (
        lambda name: "bias" not in name and "norm" not in within.get(name, "") and "norm" not in name.lower(),
        lambda name: "bias" not in name and within.get(name) != "layernorm",
    )


def _shapes_fit(stored: StoredOptimizer, keys: Sequence[Any], order: Sequence[str], live: dict[str, Any]) -> bool:
    pairs = ((stored.states[key], live[name]) for key, name in zip(keys, order, strict=True) if key in stored.states)
    return all(state.exp_avg.shape == tuple(parameter.shape) for state, parameter in pairs)
