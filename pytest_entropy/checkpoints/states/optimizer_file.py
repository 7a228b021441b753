"""Read an optimizer's file as AdamW state by live parameter name: an entry without a parameter is an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.formats.dcp import read_dcp
from pytest_entropy.checkpoints.formats.torch_file import read_torch_file
from pytest_entropy.checkpoints.layouts import known_layouts
from pytest_entropy.checkpoints.preflight.screening import read_names
from pytest_entropy.checkpoints.states.optimizer_kind import require_adamw
from pytest_entropy.checkpoints.states.parameter_order import given_parameters, live_name, rule_of_order
from pytest_entropy.checkpoints.states.state_record import require_state_dict
from pytest_entropy.checkpoints.states.unreached import without_state
from pytest_entropy.checkpoints.stored_prefixes import replaced_prefix
from pytest_entropy.errors import UsageError
from pytest_entropy.optimizers.optimizer_states import moments_of, moments_shape
from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.states.base import NotAdamW, plain_tensor

Group = Mapping[str, Any]


class Mapped:
    """AdamW's state by live parameter name.

    Attributes:
        states: state by live name.
        rule: how the optimizer's integers became names, in words.
        rates: learning rates by group.
        source: where the rates are from, in words.
    """

    def __init__(self, states: dict[str, ParameterState], rule: str, rates: Sequence[float], source: str) -> None:
        self.states, self.rule, self.rates, self.source = states, rule, rates, source

    def learning_rate(self) -> tuple[float | None, str]:
        """The largest learning rate of any parameter (eta), and where it is from; None where no rate is stored."""
        # Groups without parameters do not count: directions are relative to the largest rate that moves a parameter.
        largest = max(entry.lr for entry in self.states.values())
        return (largest, self.source) if largest > 0 else (None, "nowhere")


def read_optimizer(files: CheckpointFiles, model: Any, trainable: Mapping[str, torch.nn.Parameter]) -> Mapped:
    """Read the AdamW state of every trainable parameter, by live name.

    Names are used where the checkpoint stores them (as keys, in the groups or in a side file), else the
    layout's order; then shapes, coverage and step counts are checked.  Parameters of a whole model that a list of
    numbered names leaves out were frozen: they have no state.

    Args:
        files: paths of the checkpoint.
        model: the live model that the optimizer sees.
        trainable: its trainable parameters by live name.

    Raises:
        UsageError: the file needs unpickling, is damaged, is not AdamW's, or does not fit the model.
    """
    path = files.optimizer
    # Three tensors of state and as many of quantisation per parameter, frozen ones perhaps among them.
    groups, state = _stored(path, tensors=8 * sum(1 for _ in model.parameters()))
    indices = [index for group in groups for index in group["params"]]
    # The groups of the layouts' rules are told apart by the shapes of the moments as well.
    shaped = [{**group, "shapes": [moments_shape(state.get(i, {})) for i in group["params"]]} for group in groups]
    order, rule = _order(files, model, trainable, shaped, indices)
    numbered = all(isinstance(index, int) for index in indices)
    if numbered and not files.is_adapter and len(indices) < len(trainable):
        trainable, rule = _without_frozen(path, trainable, order, indices, rule)
    if len(indices) > len(order):
        raise UsageError(
            f"{path} numbers {len(indices)} parameters, the model has {len(order)} "
            f"({rule}); is this the optimizer of another model or adapter?"
        )
    if len(set(indices)) < len(indices) or len(set(order)) < len(order):
        raise UsageError(f"{path}: a parameter is numbered or named twice ({rule}): a damaged file")
    group_of = {index: number for number, group in enumerate(groups) for index in group["params"]}
    rates, source = _rates(path, groups)
    states: dict[str, ParameterState] = {}
    for index, name in zip(indices, order, strict=False):
        if name in trainable and index in state:
            number = group_of[index]
            entry = _entry(path, name, state[index], groups[number], trainable[name])
            states[name] = replace(entry, lr=rates[number], group=number)
    if missing := [name for name in trainable if name not in states]:
        spared = without_state(model, missing, states)
        trainable = {name: p for name, p in trainable.items() if name not in spared}
        rule += f"; {len(spared)} parameters that text does not reach have no state" if spared else ""
    _require_cover(path, states, trainable, rule, len(state))
    return Mapped({name: states[name] for name in trainable}, rule, rates, source)


def _without_frozen(
    path: Path,
    trainable: Mapping[str, torch.nn.Parameter],
    order: Sequence[str],
    indices: Sequence[int | str],
    rule: str,
) -> tuple[Mapping[str, torch.nn.Parameter], str]:
    """The parameters of a whole model that the optimizer was given, by numbered names, and the rule in words."""
    if len(order) != len(indices):
        raise UsageError(
            f"{path} holds {len(indices)} parameters, the model has {len(trainable)}: if the others were frozen, write "
            "the names of those that trained, as the optimizer numbers them, to optimizer_param_names.json beside it"
        )
    given = set(order)
    return {name: p for name, p in trainable.items() if name in given}, f"{rule}; the others were frozen"


def steps_taken(path: Path, *, tensors: int) -> int:
    """Number of steps that the optimizer in a file has taken; no model is needed.

    Args:
        path: the optimizer's file or directory.
        tensors: number of tensors it may describe at most; bounds the bytes parsed.

    Raises:
        UsageError: the file cannot be read or holds no step count.
    """
    steps = [entry.get("step") for entry in _stored(path, tensors=tensors)[1].values()]
    counted = [_number(step) for step in steps if step is not None]
    if not counted:
        raise UsageError(f"{path} holds no step count")
    return int(max(counted))


def _stored(path: Path, *, tensors: int) -> tuple[list[Group], Mapping[Any, Mapping[str, Any]]]:
    """Groups and state of a stored state_dict, checked as far as possible without the model."""
    record = read_dcp(path, tensors=tensors) if path.is_dir() else read_torch_file(path, tensors=tensors)
    record = require_state_dict(path, record)
    require_adamw(path, record)
    groups, state = record["param_groups"], record["state"]
    whole = isinstance(groups, list) and all(
        isinstance(group, dict) and isinstance(group.get("params"), list) and "betas" in group and "eps" in group
        for group in groups
    )
    if not whole or not all(isinstance(entry, dict) for entry in state.values()):
        raise UsageError(f"{path}: param_groups need params, betas and eps each: not AdamW's or Adam's state_dict")
    if not all(isinstance(group.get("param_names") or [], list | tuple) for group in groups):
        raise UsageError(f"{path}: param_names are not a list: a damaged file")
    if not all(type(index) in (int, str) for group in groups for index in group["params"]):
        raise UsageError(f"{path}: param_groups hold parameters that are neither numbers nor names: a damaged file")
    if not state:
        raise UsageError(f"{path} holds an optimizer that has not taken a step: it has no moments to precondition with")
    return groups, state


def _order(
    files: CheckpointFiles,
    model: Any,
    trainable: Mapping[str, Any],
    groups: Sequence[Group],
    indices: Sequence[int | str],
) -> tuple[list[str], str]:
    """Live names in the order of the optimizer's parameters, and the rule that gave them, in words."""
    everything = {live_name(name): name for name, _ in model.named_parameters()}
    stored: list[str] | None = None
    if all(isinstance(index, str) for index in indices):
        stored, source = [str(index) for index in indices], f"names in {files.optimizer.name}"
    elif all(len(group.get("param_names") or ()) == len(group["params"]) for group in groups):
        names = (group.get("param_names") or () for group in groups)
        stored, source = [str(name) for some in names for name in some], f"names in {files.optimizer.name}"
    elif files.names is not None:
        stored, source = read_names(files.names), f"names in {files.names.name}"
    if stored is not None:
        unknown = [name for name in stored if live_name(name) not in everything]
        table = replaced_prefix([live_name(name) for name in stored], everything) if unknown else None
        if table is not None:
            words = f"{source}, such as {unknown[0]} for {everything[table[live_name(unknown[0])]]}"
            return [everything[table[live_name(name)]] for name in stored], words
        if unknown:
            raise UsageError(
                f"{source}: {len(unknown)} of {len(stored)} parameters are not in the model, for instance "
                f"{unknown[0]}; is this the optimizer of another model or adapter?"
            )
        return [everything[live_name(name)] for name in stored], source
    layout = next(layout for layout in known_layouts() if layout.name == files.layout)
    order = layout.parameter_order(model, list(trainable), groups)
    words = rule_of_order(model, given_parameters(model, list(trainable), groups), groups, order)
    return order, f"order of {layout.name} checkpoints" + (f", {words}" if words else "")


def _entry(path: Path, name: str, entry: Mapping[str, Any], group: Group, parameter: torch.Tensor) -> ParameterState:
    decay = _number(group.get("weight_decay", 0.0))
    try:
        moments = moments_of(entry, tuple(parameter.shape), group)
    except NotAdamW as error:
        raise UsageError(f"{path}: the state of {name} {error}") from error
    betas = [_number(beta) for beta in group["betas"]] if isinstance(group["betas"], tuple | list) else []
    eps = _number(group["eps"])
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas) or not 0 <= eps < 1 or not 0 <= decay < 1e3:
        raise UsageError(
            f"{path}: betas {betas}, eps {eps:g}, weight_decay {decay:g} are not valid for AdamW: a damaged file"
        )
    return ParameterState(
        step=moments.step,
        exp_avg=moments.exp_avg,
        exp_avg_sq=moments.exp_avg_sq,
        lr=0.0,
        betas=(betas[0], betas[1]),
        eps=eps,
        weight_decay=decay,
        quantised=moments.quantised,
    )


def _rates(path: Path, groups: Sequence[Group]) -> tuple[list[float], str]:
    """Learning rate of each group for the next step, or the initial one where the schedule has ended at 0."""
    for key, source in (
        ("lr", f"{path.name} (lr of the next step)"),
        ("initial_lr", f"{path.name} (initial_lr; the schedule has ended at 0)"),
    ):
        rates = [_number(group.get(key, 0.0)) for group in groups]
        if not all(0 <= rate < 1e6 for rate in rates):
            raise UsageError(f"{path}: {key} {rates} is not a learning rate: a damaged file")
        if any(rates):
            return rates, source
    return [0.0] * len(groups), "nowhere"


def _number(value: Any) -> float:
    """A setting as a float; torch may store it as a tensor with one element."""
    tensor = plain_tensor(value)
    plain = tensor.item() if tensor is not None and tensor.numel() == 1 else value
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise UsageError(f"the optimizer's settings hold {str(value)[:40]!r} where a number belongs: a damaged file")
    try:
        return float(plain)
    except OverflowError:
        return math.inf


def _require_cover(
    path: Path, states: Mapping[str, ParameterState], trainable: Mapping[str, Any], rule: str, entries: int
) -> None:
    """Reject a file whose states do not belong to the trainable parameters one to one."""
    without = [name for name in trainable if name not in states]
    if without:
        raise UsageError(
            f"{path}: {len(without)} of {len(trainable)} trainable parameters have no optimizer state by the "
            f"{rule}, for instance {without[0]}; a fresh state would give another step"
        )
    if entries != len(states):
        raise UsageError(
            f"{path} holds {entries} states, the model has {len(states)} trainable parameters: some states "
            "belong to no parameter of this model"
        )
    steps = {state.step for state in states.values()}
    if len(steps) > 1:
        raise UsageError(f"{path}: parameters disagree on the number of steps taken ({sorted(steps)[:4]})")
