"""Plain reading of the files: JSON, elements of safetensors, and the optimizer's numbers by ``torch.load``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from pytest_entropy.checkpoints.second_reading.elements import Elements, elements

# Where bitsandbytes nests its state, and its numbers of elements per maximum.
NESTED, BLOCKS = "__bnb_optimizer_quant_state__", (256, 2048)


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no file.

    Raises:
        ValueError: it is not a JSON object.
    """
    if not path.is_file():
        return {}
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return record


def weights_directory(root: Path) -> Path:
    """The directory of a checkpoint that holds its weights: itself, or ``model`` in it."""
    inner = root / "model"
    return inner if any((inner / name).is_file() for name in ("adapter_config.json", "config.json")) else root


def read_weights(directory: Path) -> dict[str, Elements]:
    """Elements of every tensor of the adapter, or of the whole model, by key.

    Raises:
        ValueError: there are no safetensors.
    """
    adapter, whole = directory / "adapter_model.safetensors", directory / "model.safetensors"
    is_adapter = (directory / "adapter_config.json").is_file()
    single = adapter if is_adapter else whole
    files = [single] if single.is_file() else [] if is_adapter else sorted(directory.glob("model-*.safetensors"))
    if not files:
        raise ValueError(f"no safetensors in {directory.name}")
    found: dict[str, Elements] = {}
    for file in files:
        with safe_open(str(file), framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 - a file handle, not a mapping
                found[key] = _slices(stored, key)
    return found


def _slices(stored: Any, key: str) -> Elements:
    part = stored.get_slice(key)
    shape = tuple(part.get_shape())
    if math.prod(shape) <= 1 or not shape:
        whole = stored.get_tensor(key)
        return elements(key, shape, whole.dtype, lambda where: whole.reshape(-1)[list(where)])

    def at(where: Sequence[int]) -> torch.Tensor:
        return torch.cat([part[_cell(index, shape)].reshape(-1) for index in where])

    first = part[tuple(slice(0, 1) for _ in shape)]
    return elements(key, shape, first.dtype, at)


def _cell(index: int, shape: Sequence[int]) -> tuple[slice, ...]:
    cell: list[slice] = []
    for size in reversed(shape):
        index, here = divmod(index, size)
        cell.insert(0, slice(here, here + 1))
    return tuple(cell)


@dataclass(frozen=True)
class StoredState:
    """What an optimizer's file holds of one parameter.

    Attributes:
        scalars: lr, beta1, beta2, eps, weight_decay and step.
        exp_avg, exp_avg_sq: elements of both moments.
    """

    scalars: dict[str, float]
    exp_avg: Elements
    exp_avg_sq: Elements


@dataclass(frozen=True)
class StoredOptimizer:
    """An optimizer's file.

    Attributes:
        groups: keys of the parameters of each group, in the file's order.
        names: the parameters' names in the same order, one group after the other; None where none are stored.
        states: by key.
    """

    groups: list[list[Any]]
    names: list[str] | None
    states: dict[Any, StoredState]


def read_optimizer_file(root: Path) -> StoredOptimizer:
    """An optimizer's settings, and elements of its moments.

    Raises:
        ValueError: there is no file of torch's with an Adam's state.
    """
    file = next((root / name for name in ("optimizer.pt", "optimizer.bin") if (root / name).is_file()), None)
    if file is None:
        raise ValueError("the optimizer's state is in no file of torch.save")
    record = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    record = _inside(record)
    groups = record["param_groups"]
    # A schedule that has ended leaves rates of 0 in all groups: then the initial ones count.
    key = "lr" if any(float(group.get("lr", 0)) for group in groups) else "initial_lr"
    states: dict[Any, StoredState] = {}
    for group in groups:
        for number in group["params"]:
            if number in record["state"]:
                states[number] = _state(str(number), record["state"][number], group, key)
    named = [str(name) for group in groups for name in group.get("param_names") or ()]
    whole = len(named) == sum(len(group["params"]) for group in groups)
    names = named if whole else _side_file(root)
    return StoredOptimizer([list(group["params"]) for group in groups], names, states)


def _inside(record: Any) -> dict[str, Any]:
    """The dictionary with param_groups in a trainer's record, wherever it lies there."""
    waiting = [record]
    while waiting:
        here = waiting.pop(0)
        if isinstance(here, dict) and "param_groups" in here:
            return here
        waiting += here.values() if isinstance(here, dict) else here if isinstance(here, list) else []
    raise ValueError("the optimizer's file holds no param_groups")


def _side_file(root: Path) -> list[str] | None:
    for name in ("optimizer_param_names.json", "param_names.json"):
        if (root / name).is_file():
            listed = json.loads((root / name).read_text(encoding="utf-8"))
            listed = listed.get("param_names", listed) if isinstance(listed, dict) else listed
            # An object maps the optimizer's numbers to names.
            ordered = [listed[str(number)] for number in range(len(listed))] if isinstance(listed, dict) else listed
            return [str(entry) for entry in ordered]
    return None


def _state(name: str, entry: Mapping[str, Any], group: Mapping[str, Any], rate: str) -> StoredState:
    entry = {**entry, **entry.get(NESTED, {})}
    scalars = {
        "lr": float(group.get(rate, 0)),
        "beta1": float(group["betas"][0]),
        "beta2": float(group["betas"][1]),
        "eps": float(group["eps"]),
        "weight_decay": float(group.get("weight_decay", 0)),
        "step": float(entry["step"]),
    }
    return StoredState(scalars, _moment(name, entry, 1), _moment(name, entry, 2))


def _moment(name: str, entry: Mapping[str, Any], number: int) -> Elements:
    """Elements of the first or the second moment, in torch's words or in bitsandbytes'."""
    plain = ("exp_avg", "exp_avg_sq")[number - 1]
    stored = entry[plain] if plain in entry else entry[f"state{number}"]
    flat = stored.reshape(-1)
    if stored.dtype != torch.uint8:
        return elements(name, stored.shape, stored.dtype, lambda where: flat[list(where)])
    codebook, largest = entry[f"qmap{number}"], entry[f"absmax{number}"]
    block = next(size for size in BLOCKS if -(-flat.numel() // size) == largest.numel())

    def at(where: Sequence[int]) -> torch.Tensor:
        return torch.tensor([float(codebook[int(flat[i])]) * float(largest[i // block]) for i in where])

    return elements(name, stored.shape, torch.float32, at)
