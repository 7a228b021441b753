"""Convert DeepSpeed's universal checkpoint to ``optimizer.pt`` with parameter names: run once per checkpoint.

The universal format has a directory per parameter (``zero/NAME/exp_avg.pt`` …); its tensors are read with
``weights_only``.  Its hyperparameters are in a pickle, which is not opened: the command line gives them.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch

from pytest_entropy.checkpoints.formats.torch_file import read_torch_file
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.states.group_rules import decays
from pytest_entropy.checkpoints.states.parameter_order import live_name
from pytest_entropy.errors import UsageError


def convert(universal: Path, out: Path, *, step: int | None = None, **settings: float) -> int:
    """Write an AdamW state_dict with parameter names, and return the number of parameters.

    Args:
        universal: directory that ``ds_to_universal`` wrote.
        out: the file to write, ``optimizer.pt`` beside the weights.
        step: number of optimizer steps taken, where the directory does not hold it (ZeRO 3).
        settings: ``lr``, ``beta1``, ``beta2``, ``eps``, ``weight_decay`` of the run.  Norms and biases get no
            weight decay, as in transformers' Trainer.

    Raises:
        UsageError: the directory holds no parameters, or a file is missing or damaged.
    """
    shapes = WeightsFile(out.parent).shapes()
    places = sorted(place.parent for place in (universal / "zero").glob("*/exp_avg.pt"))
    if not places:
        raise UsageError(f"{universal} holds no zero/NAME/exp_avg.pt: ds_to_universal did not write it")
    groups: list[dict[str, object]] = []
    state: dict[int, dict[str, object]] = {}
    for decay in (settings["weight_decay"], 0.0):
        members = [place for place in places if decays(place.name) == (not groups)]
        numbers = list(range(len(state), len(state) + len(members)))
        groups.append(
            {
                "lr": settings["lr"],
                "betas": (settings["beta1"], settings["beta2"]),
                "eps": settings["eps"],
                "weight_decay": decay,
                # As torch's AdamW has them.
                "amsgrad": False,
                "maximize": False,
                "decoupled_weight_decay": True,
                "params": numbers,
                "param_names": [place.name for place in members],
            }
        )
        state |= {
            i: {"step": _step(place, step), **_moments(place, shapes.get(live_name(place.name)))}
            for i, place in zip(numbers, members, strict=True)
        }
    torch.save({"state": state, "param_groups": groups}, out)
    return len(state)


def _moments(place: Path, shape: tuple[int, ...] | None) -> dict[str, torch.Tensor]:
    """Both moments, in the parameter's ``shape`` where it is known: ZeRO 3 stores them flat."""
    both = {key: _value(place / f"{key}.pt") for key in ("exp_avg", "exp_avg_sq")}
    if shape is None:
        return both
    return {key: value.reshape(shape) if value.numel() == math.prod(shape) else value for key, value in both.items()}


def _step(place: Path, given: int | None) -> Any:
    if (place / "step.pt").is_file():
        return _value(place / "step.pt")
    if given is None:
        raise UsageError(f"{place} does not say how many steps were taken: give --step N")
    return given


def _value(path: Path) -> Any:
    record = read_torch_file(path, tensors=1)
    return record["param"] if isinstance(record, dict) else record


def main() -> int:
    """Convert the directory that the command line names, and return the exit status.

    Raises:
        SystemExit: the directory cannot be converted.
    """
    parser = argparse.ArgumentParser(description="DeepSpeed's universal checkpoint to optimizer.pt with names.")
    parser.add_argument("universal", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--learning-rate", dest="lr", type=float, required=True)
    for name, default in (("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8), ("weight_decay", 0.0)):
        parser.add_argument("--" + name.replace("_", "-"), dest=name, type=float, default=default)
    parser.add_argument("--step", type=int, help="optimizer steps taken, if the directory does not say")
    given = vars(parser.parse_args())
    try:
        count = convert(given.pop("universal"), out := given.pop("out"), **given)
    except UsageError as error:
        raise SystemExit(str(error)) from error
    print(f"{out}: {count} parameters")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
