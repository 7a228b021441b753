"""``optimizer.pt`` to AdamW state by live parameter name: every entry accounted for, or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pytest_entropy.adamw import ParameterState
from pytest_entropy.checkpoints.files import CheckpointFiles, read_json
from pytest_entropy.checkpoints.layouts import known_layouts
from pytest_entropy.checkpoints.parameter_order import live_name
from pytest_entropy.errors import UsageError


def read_optimizer(files: CheckpointFiles, model: Any, trainable: Mapping[str, torch.nn.Parameter]) -> Mapped:
    """State of every trainable parameter, by live name.

    Names are used where the checkpoint stores them (in the groups or a side file), else the layout's order;
    then shapes, coverage and step counts are checked.

    Raises:
        UsageError: the file needs unpickling, is damaged, is not AdamW's, or does not fit the model.
    """
    record = _load(files.optimizer)
    groups, state = record["param_groups"], record["state"]
    order, rule = _order(files, model, trainable, groups)
    indices = [index for group in groups for index in group["params"]]
    if len(indices) > len(order):
        raise UsageError(
            f"{files.optimizer} numbers {len(indices)} parameters, the model has {len(order)} "
            f"({rule}); is this the optimizer of another model or adapter?"
        )
    group_of = {index: number for number, group in enumerate(groups) for index in group["params"]}
    by_name: dict[str, ParameterState] = {}
    for index, name in zip(indices, order, strict=False):
        if name not in trainable:
            continue
        if index not in state:
            continue
        entry = _entry(files.optimizer, name, state[index], groups[group_of[index]], trainable[name])
        by_name[name] = replace(entry, group=group_of[index])
    _require_cover(files.optimizer, by_name, trainable, rule, len(state))
    return Mapped({name: by_name[name] for name in trainable}, rule, groups)


def steps_taken(path: Path) -> int:
    """How many steps the optimizer in this file has taken; no model is needed."""
    return max(int(entry.get("step", 0)) for entry in _load(path)["state"].values())


class Mapped:
    """The states and how they were found.

    ``rule`` says in words how integers became names; ``groups`` are the stored hyperparameter groups.
    """

    def __init__(self, states: dict[str, ParameterState], rule: str, groups: Sequence[Mapping[str, Any]]) -> None:
        self.states, self.rule, self.groups = states, rule, groups

    def learning_rate(self) -> tuple[float | None, str]:
        """eta and where it is from: the next step's stored rate, or the initial one where that is 0."""
        stored = max((float(group.get("lr", 0.0)) for group in self.groups), default=0.0)
        if stored > 0:
            return stored, "optimizer.pt (lr of the next step)"
        initial = max((float(group.get("initial_lr", 0.0)) for group in self.groups), default=0.0)
        if initial > 0:
            return initial, "optimizer.pt (initial_lr; the schedule has ended at 0)"
        return None, "nowhere"


def _load(path: Path) -> dict[str, Any]:
    try:
        # mmap keeps a huge declared tensor from being allocated before its bytes are seen.
        record = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"optimizer state {path} cannot be read without running code from it, or is damaged: {reason[:200]}"
        ) from error
    if not isinstance(record, dict) or not isinstance(record.get("state"), dict) or not record.get("param_groups"):
        raise UsageError(f"{path} is not an optimizer's state_dict (needs 'state' and 'param_groups')")
    if not record["state"]:
        raise UsageError(f"{path} holds an optimizer that has not taken a step: it has no moments to precondition with")
    return record


def _order(
    files: CheckpointFiles, model: Any, trainable: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]
) -> tuple[list[str], str]:
    """Live names by the optimizer's integers, and the rule in words."""
    everything = {live_name(name): name for name, _ in model.named_parameters()}
    stored: list[str] | None = None
    if all("param_names" in group for group in groups):
        stored, source = [str(n) for group in groups for n in group["param_names"]], "names in optimizer.pt"
    elif files.names is not None:
        stored, source = _names_file(files.names), f"names in {files.names.name}"
    if stored is not None:
        unknown = [name for name in stored if live_name(name) not in everything]
        if unknown:
            raise UsageError(
                f"{source}: {len(unknown)} of {len(stored)} parameters are not in the model, for instance "
                f"{unknown[0]}; is this the optimizer of another model or adapter?"
            )
        return [everything[live_name(name)] for name in stored], source
    layout = next(layout for layout in known_layouts() if layout.name == files.layout)
    return layout.parameter_order(model, list(trainable), groups), f"order of {layout.name} checkpoints"


def _names_file(path: Path) -> list[str]:
    """A list of names, or an object from index to name."""
    import json

    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        record = read_json(path)
    if isinstance(record, dict):
        record = record.get("param_names", record)
    if isinstance(record, dict):
        record = [record[key] for key in sorted(record, key=int)]
    if not isinstance(record, list) or not all(isinstance(name, str) for name in record):
        raise UsageError(f"{path}: expected a list of parameter names, or an object from index to name")
    return record


def _entry(
    path: Path, name: str, entry: Mapping[str, Any], group: Mapping[str, Any], parameter: torch.Tensor
) -> ParameterState:
    missing = [key for key in ("step", "exp_avg", "exp_avg_sq") if key not in entry]
    if missing:
        raise UsageError(f"{path}: the state of {name} lacks {', '.join(missing)}: not torch's AdamW or Adam")
    if group.get("amsgrad") or group.get("maximize"):
        raise UsageError(f"{path}: amsgrad and maximize are not supported; train without them")
    for key in ("exp_avg", "exp_avg_sq"):
        if tuple(entry[key].shape) != tuple(parameter.shape):
            raise UsageError(
                f"{path}: {key} of {name} has shape {tuple(entry[key].shape)}, the parameter {tuple(parameter.shape)}: "
                "the numbering does not fit this model"
            )
        if not torch.isfinite(entry[key]).all():
            raise UsageError(f"{path}: {key} of {name} is not finite: the run had diverged when this was saved")
    if (entry["exp_avg_sq"] < 0).any():
        raise UsageError(f"{path}: exp_avg_sq of {name} is negative somewhere: a damaged file")
    return ParameterState(
        step=int(entry["step"]),
        exp_avg=entry["exp_avg"].clone(),
        exp_avg_sq=entry["exp_avg_sq"].clone(),
        lr=float(group.get("lr", 0.0)),
        betas=(float(group["betas"][0]), float(group["betas"][1])),
        eps=float(group["eps"]),
        weight_decay=float(group.get("weight_decay", 0.0)),
    )


def _require_cover(
    path: Path, found: Mapping[str, ParameterState], trainable: Mapping[str, Any], rule: str, entries: int
) -> None:
    without = [name for name in trainable if name not in found]
    if without:
        raise UsageError(
            f"{path}: {len(without)} of {len(trainable)} trainable parameters have no optimizer state by the "
            f"{rule}, for instance {without[0]}; nothing is made up in its place"
        )
    if entries != len(found):
        raise UsageError(
            f"{path} holds {entries} states, the model's trainable parameters are {len(found)}: part of it "
            "belongs to something else"
        )
    steps = {state.step for state in found.values()}
    if len(steps) > 1:
        raise UsageError(f"{path}: parameters disagree on the number of steps taken ({sorted(steps)[:4]})")
