"""Check before loading that an adapter's tensors fit the sizes and the layers of its base model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_entropy.checkpoints.files import read_object
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.preflight.model_files import quoted
from pytest_entropy.checkpoints.text_settings import text_settings
from pytest_entropy.errors import UsageError

Shape = tuple[int, ...]
_LAYER = re.compile(r"\.(\d+)\.")
_REMEDY = "name the base model that the adapter was trained on with --base-model DIR"


def require_base_size(adapter: Path, base: Path) -> None:
    """Reject a base model whose weights or number of layers are not those that the adapter was trained on.

    Only shapes in headers are read.  An adapted weight that the base has under another name is not compared: loading
    reports a tensor that has no place.

    Args:
        adapter, base: their directories.

    Raises:
        UsageError: names a tensor and both sizes, or a layer that one of the two lacks.
    """
    stored, whole = WeightsFile(adapter).shapes(), WeightsFile(base).shapes()
    adapted = dict(_adapted(stored))
    for stem, (outputs, inputs) in adapted.items():
        weight = whole.get(f"{stem}.weight", ())
        # transformers' Conv1D stores a weight transposed.
        if len(weight) == 2 and (outputs, inputs) not in (weight, weight[::-1]):
            raise UsageError(
                f"base model {base} is of another size than adapter {adapter}: {quoted(stem)} is adapted as a weight "
                f"of {outputs} x {inputs}, and the base has {weight[0]} x {weight[1]}; {_REMEDY}"
            )
    for key, shape in stored.items():
        in_base = whole.get(key, shape)
        if in_base[1:] != shape[1:]:
            raise UsageError(
                f"base model {base} is of another size than adapter {adapter}: {quoted(key)} is saved whole with shape "
                f"{shape}, and the base has {in_base}; {_REMEDY}"
            )
    _require_same_layers(adapter, base, adapted, whole)


def _adapted(stored: Mapping[str, Shape]) -> Iterator[tuple[str, Shape]]:
    """(module, (outputs, inputs)) of each module with a pair of matrices A and B."""
    for key, first in stored.items():
        second = stored.get(key.replace(".lora_A.", ".lora_B."), ())
        if key.endswith(".lora_A.weight") and len(first) == len(second) == 2:
            yield key.removesuffix(".lora_A.weight"), (second[0], first[1])


def _require_same_layers(adapter: Path, base: Path, adapted: Mapping[str, Shape], whole: Mapping[str, Shape]) -> None:
    """Reject an adapter of more layers than the base has, or of fewer though it adapts a module in all layers."""
    patterns = {_any_layer(stem) for stem in adapted}
    in_base = {stem for key in whole if _any_layer(stem := key.removesuffix(".weight")) in patterns}
    known = {_any_layer(stem) for stem in in_base}
    absent = sorted(stem for stem in adapted if _any_layer(stem) in known and stem not in in_base)
    if absent:
        raise UsageError(
            f"base model {base} is of another size than adapter {adapter}: {quoted(absent[0])} is adapted, and the "
            f"base has no such layer; {_REMEDY}"
        )
    # Layers on disk beyond the configured ones, such as those that predict further tokens, are not loaded.
    layers = text_settings(read_object(base / "config.json")).get("num_hidden_layers")
    loaded = {stem for stem in in_base if isinstance(layers, int) and _layer_of(stem) < layers}
    more = sorted(loaded - set(adapted))
    if more and _adapts_every_layer(adapter):
        raise UsageError(
            f"base model {base} is of another size than adapter {adapter}: it has {quoted(more[0])}, and the adapter, "
            f"which is of every layer, has no tensor for it; {_REMEDY}"
        )


def _layer_of(stem: str) -> int:
    """The first number in a module's name, that of its layer; -1 without one."""
    found = _LAYER.search(stem)
    return int(found[1]) if found else -1


def _any_layer(stem: str) -> str:
    """A module's name with the numbers of layers (and experts) left open."""
    return _LAYER.sub(".*.", stem)


def _adapts_every_layer(adapter: Path) -> bool:
    """Whether the configuration adapts modules by their last name alone, wherever they are."""
    config = read_object(adapter / "adapter_config.json")
    targets = config.get("target_modules")
    limited = any(config.get(key) for key in ("layers_to_transform", "exclude_modules", "target_parameters"))
    names = isinstance(targets, list) and all(isinstance(name, str) and "." not in name for name in targets)
    return names and not limited
